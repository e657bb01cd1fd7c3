package policy

import (
	"bytes"
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Format is the YAML text of a document: fields in the order of the Go types,
// sessions and keys sorted. Parse gives the same document back.
func Format(doc *Document) ([]byte, error) {
	f := &formatter{}
	f.object(reflect.ValueOf(doc).Elem(), 0)
	if f.err != nil {
		return nil, fmt.Errorf("formatting policy: %w", f.err)
	}
	return f.out.Bytes(), nil
}

// A formatter writes block style: a value begins where the cursor is, after a
// name's colon or a list's dash, and ends with a line end.
type formatter struct {
	out bytes.Buffer
	err error
}

func (f *formatter) indent(depth int) {
	for range depth {
		f.out.WriteString("  ")
	}
}

// object writes the fields of a struct that are not zero; the cursor is at
// the first one's place.
func (f *formatter) object(v reflect.Value, depth int) {
	first := true
	for _, field := range fieldsOf(v.Type()).list {
		value := v.FieldByIndex(field.index)
		if !field.required && value.IsZero() {
			continue
		}
		if !first {
			f.indent(depth)
		}
		first = false
		f.out.WriteString(field.name + ":")
		f.value(value, depth)
	}
	if first {
		f.out.WriteString("{}\n")
	}
}

// value writes what stands after a name and its colon.
func (f *formatter) value(v reflect.Value, depth int) {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case Ranges:
		text := strings.ReplaceAll(x.String(), ",", ", ")
		if len(x) != 1 {
			text = "[" + text + "]"
		}
		f.out.WriteString(" " + text + "\n")
		return
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err != nil && f.err == nil {
			f.err = err
		}
		f.out.WriteString(" " + yamlText(string(text), timeOrDigit) + "\n")
		return
	case Protocol:
		f.out.WriteString(" " + string(x) + "\n")
		return
	case EtherType:
		f.out.WriteString(" " + string(x) + "\n")
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		f.out.WriteString("\n")
		f.indent(depth + 1)
		f.object(v, depth+1)
	case reflect.Map:
		f.mapping(v, depth)
	case reflect.Slice:
		f.list(v, depth)
	case reflect.String:
		f.out.WriteString(" " + yamlText(v.String(), plainText) + "\n")
	default:
		fmt.Fprintf(&f.out, " %v\n", v.Interface())
	}
}

func (f *formatter) mapping(v reflect.Value, depth int) {
	if v.Len() == 0 {
		f.out.WriteString(" {}\n")
		return
	}
	f.out.WriteString("\n")
	for _, key := range slices.Sorted(maps.Keys(keysOf(v))) {
		f.indent(depth + 1)
		f.out.WriteString(yamlText(key, plainText) + ":")
		f.value(v.MapIndex(reflect.ValueOf(key)), depth+1)
	}
}

func keysOf(v reflect.Value) map[string]bool {
	keys := make(map[string]bool, v.Len())
	for _, k := range v.MapKeys() {
		keys[k.String()] = true
	}
	return keys
}

func (f *formatter) list(v reflect.Value, depth int) {
	if v.Len() == 0 {
		f.out.WriteString(" []\n")
		return
	}
	f.out.WriteString("\n")
	for i := range v.Len() {
		f.indent(depth + 1)
		f.out.WriteString("- ")
		f.object(v.Index(i), depth+2)
	}
}

var (
	// plainText is what every YAML reader takes for text without quotes.
	plainText = regexp.MustCompile(`^[A-Za-z/][-A-Za-z0-9_./]*( [A-Za-z0-9(/][-A-Za-z0-9_./()]*)*$`)
	// timeOrDigit is the text of times, IPv4 addresses, shares and rates.
	timeOrDigit = regexp.MustCompile(`^[0-9][-0-9A-Za-z./]*(T[-0-9:.]+Z)?$`)
	// words are texts that a YAML reader, of 1.1 or 1.2, takes for something
	// else.
	words = regexp.MustCompile(`^(?i:true|false|yes|no|on|off|y|n|null|nan|inf)$`)
)

// yamlText writes text so that it is read as text: as it is if plain allows
// it, else in double quotes.
func yamlText(text string, plain *regexp.Regexp) string {
	if len(text) < 200 && plain.MatchString(text) && !words.MatchString(text) {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == utf8.RuneError || r < 0x20 || !strconv.IsPrint(r):
			if r > 0xffff {
				fmt.Fprintf(&b, `\U%08x`, r)
			} else {
				fmt.Fprintf(&b, `\u%04x`, r)
			}
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
