package ovs

import (
	"encoding/json"
	"errors"
)

var errNotation = errors.New("not in the notation of RFC 7047")

// decodeMap reads a map of strings: ["map", [[KEY, VALUE]...]], RFC 7047 section 5.1.
func decodeMap(raw json.RawMessage) (map[string]string, error) {
	kind, pairs, err := decodePairs(raw)
	if err != nil || kind != "map" {
		return nil, errNotation
	}
	m := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		m[pair[0]] = pair[1]
	}
	return m, nil
}

// decodeUUIDs reads a set of UUIDs, which is ["uuid", UUID] if it is one.
func decodeUUIDs(raw json.RawMessage) ([]string, error) {
	var one [2]string
	if err := json.Unmarshal(raw, &one); err == nil && one[0] == "uuid" && one[1] != "" {
		return one[1:], nil
	}
	kind, atoms, err := decodePairs(raw)
	if err != nil || kind != "set" {
		return nil, errNotation
	}
	var uuids []string
	for _, atom := range atoms {
		uuids = append(uuids, atom[1])
	}
	return uuids, nil
}

// decodePairs reads [KIND, [[TEXT, TEXT]...]].
func decodePairs(raw json.RawMessage) (kind string, pairs [][2]string, err error) {
	var parts [2]json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil || parts[1] == nil {
		return "", nil, errNotation
	}
	return kind, pairs, errors.Join(json.Unmarshal(parts[0], &kind), json.Unmarshal(parts[1], &pairs))
}
