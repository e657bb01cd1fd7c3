package policy

import "github.com/goccy/go-yaml/token"

// checkDepth refuses what would make the YAML library's parser recurse deeply
// or sit for minutes. It looks at the tokens, in one pass.
func checkDepth(tokens token.Tokens) *Error {
	type level struct{ column, keys int }
	var (
		blocks   []level        // open blocks, by column
		brackets []*token.Token // open brackets
		run      int            // tags and anchors without a value between them
		bare     int            // keys without a value between braces
	)
	refuse := func(tk *token.Token, p *problem) *Error {
		return at(max(tk.Position.Line, 1), max(tk.Position.Column, 1), "document", p)
	}
	for i, tk := range tokens {
		wasRun := run
		run = 0
		first := tk // the token whose column tells the block
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets = append(brackets, tk)
		case token.SequenceEndType, token.MappingEndType:
			brackets = brackets[:max(len(brackets)-1, 0)]
		case token.TagType, token.AnchorType, token.StringType:
			run = wasRun + 1
		case token.CollectEntryType:
			if n := len(brackets); n > 0 && brackets[n-1].Type == token.MappingStartType && i > 1 &&
				tokens[i-2].Type == token.CollectEntryType {
				bare++
			}
		case token.MappingValueType:
			if i > 0 && tokens[i-1].Position.Line == tk.Position.Line {
				first = tokens[i-1]
			}
			fallthrough
		case token.SequenceEntryType, token.MappingKeyType:
			if len(brackets) > 0 {
				break
			}
			column := first.Position.Column
			for len(blocks) > 0 && blocks[len(blocks)-1].column > column {
				blocks = blocks[:len(blocks)-1]
			}
			if len(blocks) == 0 || blocks[len(blocks)-1].column < column {
				blocks = append(blocks, level{column: column})
			}
			if tk.Type != token.SequenceEntryType {
				blocks[len(blocks)-1].keys++
			}
			if blocks[len(blocks)-1].keys > keysLimit {
				return refuse(first, problemf("split the file into several of a directory",
					"has more than %d keys on one level", keysLimit))
			}
		}
		if len(brackets)+run+len(blocks) > depthLimit {
			return refuse(tk, problemf("write it flatter; a policy needs 7 levels",
				"is nested more than %d levels deep", depthLimit))
		}
		if bare > keysLimit {
			return refuse(tk, problemf("give every field a value", "has more than %d fields without a value", keysLimit))
		}
	}
	return nil
}
