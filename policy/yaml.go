package policy

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parseYAML gives the tree of a document, or its first syntax error; both if
// the error is that another document follows.
func parseYAML(text []byte) (root *node, err *Error) {
	// The YAML library is fed by whoever can write a file: its bugs are an
	// error of that file, not the end of an agent.
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, at(1, 1, "yaml", problemf("simplify it, and please report the file as a bug", "breaks the YAML parser (%v)", r))
		}
	}()
	tokens := lexer.Tokenize(string(text))
	if err := checkDepth(tokens); err != nil {
		return nil, err
	}
	file, perr := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if perr != nil {
		return nil, syntaxError(perr)
	}
	b := &builder{anchors: map[string]*node{}, left: nodesLimit}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if _, ok := doc.Body.(*ast.DirectiveNode); ok {
			continue
		}
		if root != nil {
			line, column := position(doc.Body)
			if doc.Start != nil {
				line, column = doc.Start.Position.Line, doc.Start.Position.Column
			}
			return root, at(max(line, 1), max(column, 1), "document", secondDocument)
		}
		root = b.node(doc.Body)
		if b.err != nil {
			return nil, b.err
		}
	}
	if root == nil {
		return nil, at(1, 1, "document", problemf(fmt.Sprintf("start with version: %d and sessions:", Version), "is empty"))
	}
	return root, nil
}

// position is where a node of the YAML library starts.
func position(n ast.Node) (line, column int) {
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return position(v.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return position(v.Key)
	}
	tk := n.GetToken()
	if tk == nil || tk.Position == nil {
		return 1, 1
	}
	return max(tk.Position.Line, 1), max(tk.Position.Column, 1)
}

// A builder makes nodes of the YAML library's, and stops at the first error.
type builder struct {
	anchors map[string]*node
	left    int // how many more entries merge keys may add
	err     *Error
}

func (b *builder) fail(n ast.Node, p *problem) *node {
	if b.err == nil {
		line, column := position(n)
		b.err = at(line, column, "yaml", p)
	}
	return &node{}
}

func (b *builder) node(in ast.Node) *node {
	if b.err != nil || in == nil {
		return &node{line: 1, column: 1}
	}
	line, column := position(in)
	n := &node{line: line, column: column}
	switch v := in.(type) {
	case *ast.NullNode:
		n.kind = kindNull
	case *ast.BoolNode:
		n.kind, n.text = kindBool, v.Token.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.kind, n.text = kindNumber, strings.TrimSpace(in.GetToken().Value)
	case *ast.StringNode:
		n.kind, n.text = kindText, v.Value
		if v.Token.Type == token.StringType && isDigits(v.Value) {
			n.kind = kindNumber // too large for the YAML library
		}
	case *ast.LiteralNode:
		n.kind, n.text = kindText, v.Value.Value
	case *ast.SequenceNode:
		n.kind = kindList
		for _, item := range v.Values {
			n.items = append(n.items, b.node(item))
		}
	case *ast.MappingNode:
		n.kind = kindMap
		for _, value := range v.Values {
			b.entry(n, value)
		}
	case *ast.MappingValueNode:
		n.kind = kindMap
		b.entry(n, v)
	case *ast.MappingKeyNode:
		return b.node(v.Value)
	case *ast.AnchorNode:
		n = b.node(v.Value)
		if v.Name != nil {
			b.anchors[v.Name.GetToken().Value] = n
		}
	case *ast.AliasNode:
		return b.alias(v)
	case *ast.TagNode:
		return b.tag(v)
	default:
		return b.fail(in, problemf("use plain fields, lists and values", "%s is not understood here", clip(in.Type().YAMLName())))
	}
	return n
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func (b *builder) alias(v *ast.AliasNode) *node {
	name := ""
	if v.Value != nil {
		name = v.Value.GetToken().Value
	}
	if n, ok := b.anchors[name]; ok {
		return n
	}
	return b.fail(v, problemf(fmt.Sprintf("quote a glob that starts with *, as %s, or define the anchor &%s before it", quoted("*"+name), clip(name)),
		"*%s stands for an anchor that is not defined", clip(name)))
}

func (b *builder) tag(v *ast.TagNode) *node {
	n := &node{}
	if v.Value != nil {
		n = b.node(v.Value)
	}
	switch tag := v.Start.Value; tag {
	case "!!str":
		if n.kind == kindBool || n.kind == kindNumber || n.kind == kindNull {
			return &node{kind: kindText, line: n.line, column: n.column, text: n.text}
		}
		return n
	case "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map", "!!timestamp":
		return n
	default:
		return b.fail(v, problemf("remove the tag", "tag %s has no meaning here", clip(tag)))
	}
}

// entry adds a field to a map; << adds the fields of what it names.
func (b *builder) entry(to *node, v *ast.MappingValueNode) {
	if _, ok := v.Key.(*ast.MergeKeyNode); ok {
		from := b.node(v.Value)
		switch from.kind {
		case kindMap:
			b.merge(to, from, v)
		case kindList:
			for _, item := range from.items {
				b.merge(to, item, v)
			}
		default:
			b.merge(to, from, v)
		}
		return
	}
	key := b.node(v.Key)
	if key.kind == kindList || key.kind == kindMap {
		b.fail(v.Key, problemf("use a name", "%s cannot be the name of a field", key.kind.what()))
		return
	}
	if key.kind == kindNull {
		key.text = v.Key.GetToken().Value
	}
	line, column := position(v.Key)
	key = &node{kind: key.kind, line: line, column: column, text: key.text}
	value := b.node(v.Value)
	if null, ok := v.Value.(*ast.NullNode); ok && null.Token.Type == token.ImplicitNullType {
		value.line, value.column = line, column // it stands nowhere itself
	}
	to.entries = append(to.entries, entry{key: key, value: value})
}

func (b *builder) merge(to, from *node, at ast.Node) {
	if b.err != nil {
		return
	}
	if from.kind != kindMap {
		b.fail(at, problemf("merge an alias of a set of fields, as <<: *base", "<< merges sets of fields, not %s", from.kind.what()))
		return
	}
	if b.left -= len(from.entries) + 1; b.left < 0 {
		b.fail(at, tooMany)
		return
	}
	for _, e := range from.entries {
		e.merged = true
		to.entries = append(to.entries, e)
	}
}

// tooMany is the problem of a document that its aliases make enormous.
var tooMany = problemf("use fewer aliases of aliases", "grows to more than %d values when its aliases are replaced", nodesLimit)
