package policy

import (
	"fmt"

	"github.com/goccy/go-yaml/token"
)

// checkDepth refuses what would make the YAML library's parser recurse deeply
// or sit for minutes, where its time is the square of the text's length; and a
// lone *, which it would explain by what follows. It looks at the tokens, in
// one pass.
func checkDepth(tokens token.Tokens) *Error {
	c := &depthCheck{tokens: tokens}
	for i, tk := range tokens {
		if err := c.token(i, tk); err != nil {
			return err
		}
	}
	return nil
}

type depthCheck struct {
	tokens   token.Tokens
	blocks   []block // open blocks, by column
	brackets []bool  // open brackets: whether it is {
	run      int     // tags, anchors and ? without a value between them
	empty    int     // fields and list items without a value
	line     int     // of the last token
	pairs    int     // values of the line that directly follow a value
	marks    int     // --- and ... lines
}

// A block is a list or map that indentation tells.
type block struct{ column, keys int }

func (c *depthCheck) token(i int, tk *token.Token) *Error {
	if tk.Position.Line != c.line {
		c.line, c.pairs = tk.Position.Line, 0
	}
	wasRun := c.run
	c.run = 0
	switch tk.Type {
	case token.SequenceStartType, token.MappingStartType:
		c.brackets = append(c.brackets, tk.Type == token.MappingStartType)
		c.pair(i)
	case token.SequenceEndType, token.MappingEndType:
		c.brackets = c.brackets[:max(len(c.brackets)-1, 0)]
	case token.TagType, token.AnchorType:
		c.run = wasRun + 1
	case token.AliasType:
		if i+1 == len(c.tokens) || c.tokens[i+1].Position.Line != tk.Position.Line ||
			c.tokens[i+1].Type != token.StringType || c.tokens[i+1].Position.Column != tk.Position.Column+1 {
			return at(tk.Position.Line, max(tk.Position.Column, 1), "yaml",
				problemf(`quote a glob that starts with *, as "*"`, "* alone is no value"))
		}
	case token.DocumentHeaderType, token.DocumentEndType:
		c.marks++
	case token.CollectEntryType:
		if n := len(c.brackets); n > 0 && c.brackets[n-1] && i > 1 && c.tokens[i-2].Type == token.CollectEntryType {
			c.empty++
		}
	case token.SequenceEntryType, token.MappingValueType:
		c.key(i, tk)
	case token.MappingKeyType:
		c.run = wasRun + 1
		c.key(i, tk)
	default:
		c.run = wasRun
		if wasRun > 0 && (i == 0 || c.tokens[i-1].Type != token.AnchorType) {
			c.run = 0
		}
		c.pair(i)
	}
	return c.verdict(tk)
}

// pair counts a value that directly follows a value.
func (c *depthCheck) pair(i int) {
	if i == 0 {
		return
	}
	switch c.tokens[i-1].Type {
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.SequenceEndType, token.MappingEndType:
		c.pairs++
	}
}

// key counts a key or a dash in its block.
func (c *depthCheck) key(i int, tk *token.Token) {
	column := tk.Position.Column
	if tk.Type == token.MappingValueType && i > 0 && c.tokens[i-1].Position.Line == tk.Position.Line {
		column = c.tokens[i-1].Position.Column
	}
	if i+1 == len(c.tokens) {
		return
	}
	next := c.tokens[i+1]
	switch {
	case next.Type == token.CollectEntryType, next.Type == token.MappingEndType, next.Type == token.SequenceEndType,
		len(c.brackets) == 0 && next.Position.Line != tk.Position.Line && next.Position.Column <= column &&
			(next.Type != token.SequenceEntryType || next.Position.Column < column || tk.Type == token.SequenceEntryType):
		c.empty++
	}
	if len(c.brackets) > 0 {
		return
	}
	for len(c.blocks) > 0 && c.blocks[len(c.blocks)-1].column > column {
		c.blocks = c.blocks[:len(c.blocks)-1]
	}
	if len(c.blocks) == 0 || c.blocks[len(c.blocks)-1].column < column {
		c.blocks = append(c.blocks, block{column: column})
	}
	if tk.Type != token.SequenceEntryType {
		c.blocks[len(c.blocks)-1].keys++
	}
}

func (c *depthCheck) verdict(tk *token.Token) *Error {
	var p *problem
	switch {
	case len(c.brackets)+c.run+len(c.blocks) > depthLimit:
		p = tooDeep
	case len(c.blocks) > 0 && c.blocks[len(c.blocks)-1].keys > keysLimit:
		p = problemf("split the file into several of a directory", "has more than %d keys on one level", keysLimit)
	case c.empty > keysLimit:
		p = problemf("give them values or remove them", "has more than %d fields without a value", keysLimit)
	case c.pairs > depthLimit:
		p = problemf("separate values by commas or lines", "has values after values on one line")
	case c.marks > depthLimit:
		p = secondDocument
	default:
		return nil
	}
	return at(max(tk.Position.Line, 1), max(tk.Position.Column, 1), "document", p)
}

var (
	tooDeep = problemf(fmt.Sprintf("write it flatter; a policy needs %d levels", depthNeeded),
		"is nested more than %d levels deep", depthLimit)
	secondDocument = problemf("keep one policy in a file; a directory takes several files", "holds a second YAML document")
)
