package ovs_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// dumped are the tables whose rows tests compare.
var dumped = []string{"Open_vSwitch", "Bridge", "Port", "Interface", "Mirror"}

// dump is the database as text, as ovsdb-client reads it: what spanctl
// thinks of it plays no part. References are names; columns that are empty,
// false or as every row has them are left out.
func dump(t *testing.T, lab *ovstest.Lab) string {
	t.Helper()
	var query strings.Builder
	query.WriteString(`["Open_vSwitch"`)
	for _, table := range dumped {
		fmt.Fprintf(&query, `,{"op":"select","table":%q,"where":[]}`, table)
	}
	query.WriteString("]")
	var results []struct{ Rows []map[string]any }
	check(t, json.Unmarshal([]byte(tool(t, "ovsdb-client", "transact", lab.DB, query.String())), &results))
	names := map[string]string{}
	for _, result := range results {
		for _, row := range result.Rows {
			name, _ := row["name"].(string)
			names[row["_uuid"].([]any)[1].(string)] = name
		}
	}
	var text strings.Builder
	for i, result := range results {
		var rows []string
		for _, row := range result.Rows {
			if columns := describe(row, names); columns != "" || dumped[i] == "Mirror" {
				head := dumped[i]
				if name, ok := row["name"].(string); ok {
					head += " " + plain(name)
				}
				rows = append(rows, head+"\n"+columns)
			}
		}
		slices.Sort(rows)
		text.WriteString(strings.Join(rows, ""))
	}
	return text.String()
}

// describe writes the columns of a row, a line each.
func describe(row map[string]any, names map[string]string) string {
	var b strings.Builder
	for _, column := range slices.Sorted(maps.Keys(row)) {
		if column == "name" || column[0] == '_' || slices.Contains([]string{"cur_cfg", "bridges", "datapath_type"}, column) {
			continue
		}
		set, pairs := atoms(row[column], names)
		for _, key := range slices.Sorted(maps.Keys(pairs)) {
			fmt.Fprintf(&b, "  %s:%s %s\n", column, plain(key), plain(pairs[key]))
		}
		slices.SortFunc(set, func(x, y string) int {
			return cmp.Or(cmp.Compare(len(x)*digits(x), len(y)*digits(y)), cmp.Compare(x, y))
		})
		text := strings.Join(ranged(set), " ")
		if name, _ := row["name"].(string); text != "" && text != "false" && text != "0" && (column != "interfaces" || text != plain(name)) {
			fmt.Fprintf(&b, "  %s %s\n", column, text)
		}
	}
	return b.String()
}

// ranged writes three and more numbers in a row as a range.
func ranged(set []string) []string {
	var list []string
	for len(set) > 0 {
		n := 1
		first, err := strconv.Atoi(set[0])
		for err == nil && n < len(set) && set[n] == strconv.Itoa(first+n) {
			n++
		}
		if n < 3 {
			list, set = append(list, set[0]), set[1:]
			continue
		}
		list, set = append(list, set[0]+"-"+set[n-1]), set[n:]
	}
	return list
}

// digits is 1 for a number, so that sets of numbers are in their order.
func digits(s string) int {
	if _, err := strconv.Atoi(s); err != nil {
		return 0
	}
	return 1
}

// atoms takes an OVSDB value apart (RFC 7047 section 5.1): into atoms of a set
// or scalar, or pairs of a map.
func atoms(value any, names map[string]string) ([]string, map[string]string) {
	list, ok := value.([]any)
	if !ok {
		if text, ok := value.(string); ok && text == "" {
			return nil, nil
		} else if ok {
			return []string{plain(text)}, nil
		}
		return []string{fmt.Sprint(value)}, nil
	}
	switch list[0] {
	case "uuid":
		return []string{plain(names[list[1].(string)])}, nil
	case "map":
		pairs := map[string]string{}
		for _, pair := range list[1].([]any) {
			pairs[fmt.Sprint(pair.([]any)[0])] = fmt.Sprint(pair.([]any)[1])
		}
		return nil, pairs
	}
	var set []string
	for _, item := range list[1].([]any) {
		one, _ := atoms(item, names)
		set = append(set, one...)
	}
	return set, nil
}

// plain quotes a text that would not stand for itself on a line.
func plain(text string) string {
	if text == "" || strings.ContainsAny(text, " \n\t\\") || !strings.HasPrefix(text, "{") && strings.Contains(text, `"`) {
		return strconv.Quote(text)
	}
	return text
}

// sameRows compares dumps, with only the lines that differ.
func sameRows(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	t.Errorf("rows are:\n%s\nwant:\n%s", got, want)
}
