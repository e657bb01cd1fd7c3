package policy

import (
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// A field is what the tags of a Go field say about a policy's field.
type field struct {
	name     string
	index    []int
	required bool
	min, max int      // of numbers; max < min is no limit
	enum     []string // of text; nil is any
	as       string   // of text, list and map: the format, see scalar.go
	doc      string
}

// A fieldSet is the fields of a struct, embedded ones included, in order.
type fieldSet struct {
	list  []field
	names []string
	by    map[string]*field
}

var fieldSets sync.Map // reflect.Type -> *fieldSet

func fieldsOf(t reflect.Type) *fieldSet {
	if known, ok := fieldSets.Load(t); ok {
		return known.(*fieldSet)
	}
	set := &fieldSet{by: map[string]*field{}}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "" || name == "-" {
			continue
		}
		next := field{
			name: name, index: f.Index, required: !strings.Contains(options, "omit"),
			min: 0, max: -1, as: f.Tag.Get("as"),
		}
		for _, part := range strings.Split(f.Tag.Get("jsonschema"), ",") {
			key, value, _ := strings.Cut(part, "=")
			n, _ := strconv.Atoi(value)
			switch key {
			case "minimum":
				next.min = n
			case "maximum":
				next.max = n
			case "enum":
				next.enum = append(next.enum, value)
			case "description":
				next.doc = value
			}
		}
		set.list = append(set.list, next)
		set.names = append(set.names, name)
	}
	for i := range set.list {
		set.by[set.list[i].name] = &set.list[i]
	}
	known, _ := fieldSets.LoadOrStore(t, set)
	return known.(*fieldSet)
}
