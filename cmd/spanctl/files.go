package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"spanctl/policy"
)

// stdinName is what messages call standard input.
const stdinName = "<stdin>"

// fileFlag adds -f to a command.
func fileFlag(cmd *cobra.Command, files *[]string, usage string) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil, usage+": files, directories (their *.yaml, *.yml and *.json), - for standard input; may be repeated")
}

// loadPolicies reads the sessions of policy files. All errors of all files
// come at once.
func (a *app) loadPolicies(ctx context.Context, names []string) (map[string]*policy.Session, error) {
	files, err := expand(names)
	if err != nil {
		return nil, err
	}
	sessions := map[string]*policy.Session{}
	from := map[string]string{}
	var errs []error
	for _, file := range files {
		doc, err := a.loadPolicy(ctx, file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(doc.Sessions)) {
			if other, ok := from[name]; ok {
				errs = append(errs, fmt.Errorf("%w: session %q is in %s and in %s; keep one of them", errUsage, name, other, file))
				continue
			}
			sessions[name], from[name] = doc.Sessions[name], file
		}
	}
	return sessions, errors.Join(errs...)
}

func (a *app) loadPolicy(ctx context.Context, file string) (*policy.Document, error) {
	var text []byte
	var err error
	if file == stdinName {
		text, err = a.readStdin(ctx)
	} else {
		text, err = readAtMost(file, policy.MaxSize+1)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return policy.Parse(file, text)
}

// readStdin reads standard input until it ends, or ctx does.
func (a *app) readStdin(ctx context.Context) ([]byte, error) {
	return await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.stdin, policy.MaxSize+1)) })
}

// await is what f returns, or ctx's error if that ends before: then f goes on, reading what nobody can close.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// readAtMost reads the beginning of a file: enough for the parser to see that
// it is too large.
func readAtMost(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// expand replaces directories by the policy files in them.
func expand(names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		if name == "-" {
			files = append(files, stdinName)
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		if !info.IsDir() {
			files = append(files, name)
			continue
		}
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		before := len(files)
		for _, entry := range entries {
			ext := filepath.Ext(entry.Name())
			if entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, ext) || strings.HasSuffix(entry.Name(), ".schema.json") {
				continue
			}
			files = append(files, filepath.Join(name, entry.Name()))
		}
		if len(files) == before {
			return nil, fmt.Errorf("%w: directory %s holds no *.yaml, *.yml or *.json file", errUsage, name)
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}
