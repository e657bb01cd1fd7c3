package policy

// nameMax is the length of the longest session name.
const nameMax = 40

// namePattern is what ValidSessionName checks, for the schema.
const namePattern = `^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`

// nameRule says in words what a session name is.
const nameRule = "use 1 to 40 of a-z, 0-9 and -, with a letter or digit first and last"

// ValidSessionName reports whether name can name a session:
// [a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?.
func ValidSessionName(name string) bool {
	if len(name) == 0 || len(name) > nameMax {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '-' && i > 0 && i < len(name)-1:
		default:
			return false
		}
	}
	return true
}
