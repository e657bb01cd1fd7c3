package policy

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// syntaxError is an error of the YAML library in this package's form.
func syntaxError(err error) *Error {
	line, column := 1, 1
	message, _, _ := strings.Cut(err.Error(), "\n")
	var known interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &known) {
		message = known.GetMessage()
		if tk := known.GetToken(); tk != nil && tk.Position != nil {
			line, column = max(tk.Position.Line, 1), max(tk.Position.Column, 1)
		}
	}
	message = strings.Join(strings.Fields(strings.ReplaceAll(message, "\t", `\t`)), " ")
	return at(line, column, "yaml", &problem{wrong: brief(message), right: syntaxRemedy(message)})
}

// brief keeps a message of the YAML library, which may quote the user, short.
func brief(message string) string {
	if len(message) > 200 {
		return clip(message)
	}
	return message
}

// syntaxRemedy says what usually mends a syntax error of the YAML library.
func syntaxRemedy(message string) string {
	for _, known := range []struct{ part, remedy string }{
		{`character '\t'`, "indent with spaces, not tabs"},
		{"tab character", "indent with spaces, not tabs"},
		{"alias", `quote a glob that starts with *, as "*" or "*-web"`},
		{"anchor", "quote a value that starts with &"},
		{"quoted text", "close the quote"},
		{"reserved character", "quote the value"},
		{"sequence end token", "close the list with ]"},
		{"',' or ']'", "separate list items by , and close the list with ]"},
		{"flow mapping end", "close the { with }"},
		{"',' or '}'", "separate fields by , and close them with }"},
		{"'[' character", "remove the ], or quote the value"},
		{"'{' character", "remove the }, or quote the value"},
		{"mapping value is not allowed", "check the indentation, and quote a value that contains a colon and a space"},
		{"block sequence entries", "start the list on the next line"},
		{"not allowed in this context", "check the indentation: fields of one level start in the same column"},
		{"non-map value", "write each field as name: value"},
	} {
		if strings.Contains(message, known.part) {
			return known.remedy
		}
	}
	return "check quotes, brackets and indentation near here"
}
