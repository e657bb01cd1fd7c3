package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// arrows are what each package may import beside the standard library: a path
// stands for itself and what is below it. Of this module only what is named
// exactly may be imported. A package that is not here may not exist: say first
// what it may know.
var arrows = map[string][]string{
	"spanctl/policy":           {"github.com/goccy/go-yaml", "github.com/invopop/jsonschema"},
	"spanctl/policy/plan":      {"spanctl/policy"},
	"spanctl/policy/reconcile": {"spanctl/policy", "spanctl/policy/plan"},
	"spanctl/ovs": {
		"spanctl/policy", "spanctl/policy/plan", "spanctl/ovs/vswitchd", "spanctl/ovs/openflow",
		"github.com/ovn-kubernetes/libovsdb", "github.com/go-logr/logr", // libovsdb's logger
		"github.com/vishvananda/netlink", "github.com/vishvananda/netns", "golang.org/x/sys/unix", "github.com/fsnotify/fsnotify",
		"github.com/digitalocean/go-libvirt",
	},
	"spanctl/ovs/vswitchd":        {},
	"spanctl/ovs/migrate/persist": {"github.com/goccy/go-yaml", "github.com/rogpeppe/go-internal/diff"},
	"spanctl/ovs/openflow":        {"spanctl/policy/plan", "github.com/digitalocean/go-openvswitch"},
	"spanctl/ovs/migrate": {
		"spanctl/ovs", "spanctl/policy/plan", "github.com/vishvananda/netlink", "golang.org/x/sys/unix", "github.com/fsnotify/fsnotify",
	},
	"spanctl/ovs/ovstest": {
		"github.com/gopacket/gopacket", "github.com/safchain/ethtool", "github.com/vishvananda/netlink", "golang.org/x/sys",
		"github.com/digitalocean/go-libvirt",
	},
	"spanctl/ovs/ovstest/vminit": {"spanctl/ovs/ovstest"},
	"spanctl/cmd/spanctl": {
		"spanctl/policy", "spanctl/policy/plan", "spanctl/policy/reconcile", "spanctl/ovs", "spanctl/ovs/migrate", "spanctl/ovs/migrate/persist", "spanctl/ovs/openflow", "spanctl/ovs/ovstest", "github.com/spf13/cobra", "github.com/spf13/viper",
		"github.com/prometheus/client_golang", "github.com/coreos/go-systemd", "github.com/systemd/slog-journal", "github.com/fsnotify/fsnotify",
	},
}

// testsMay are what tests may import beside that.
var testsMay = []string{
	"spanctl/ovs/ovstest", "github.com/google/go-cmp", "github.com/rogpeppe/go-internal", "github.com/santhosh-tekuri/jsonschema", "golang.org/x/sys",
	"github.com/gopacket/gopacket", "golang.org/x/tools/txtar", "pgregory.net/rapid", "github.com/goccy/go-yaml", "github.com/spf13/pflag", "github.com/prometheus/client_model", "github.com/prometheus/common",
	"github.com/ovn-kubernetes/libovsdb", "github.com/go-logr/logr", "spanctl/ovs/vswitchd", // the bare client that benchmarks compare with
}

// topLevel is what the module's root may hold beside dotfiles and what git
// ignores.
var topLevel = []string{"cmd", "ovs", "policy", "examples", "docs", "go.mod", "go.sum", "Makefile", "README.md", "CHANGELOG.md"}

// listed is what go list says of a package.
type listed struct {
	ImportPath, Dir                    string
	Imports, TestImports, XTestImports []string
	GoFiles                            []string
	Standard                           bool
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,GoFiles,Standard"}, args...)...)
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var packages []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// root is the module's, seen from this package.
const root = "../.."

func TestArrows(t *testing.T) {
	for _, p := range goList(t, "./...") {
		may, known := arrows[p.ImportPath]
		if !known {
			t.Errorf("%s: a package that the architecture does not name", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			if !allowed(path, may) {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			if path != p.ImportPath && !allowed(path, may) && !allowed(path, testsMay) {
				t.Errorf("a test of %s imports %s", p.ImportPath, path)
			}
		}
	}
}

// allowed reports whether the path is of the standard library or in the list.
func allowed(path string, list []string) bool {
	first, _, _ := strings.Cut(path, "/")
	if first != "spanctl" && !strings.Contains(first, ".") {
		return true
	}
	return slices.ContainsFunc(list, func(may string) bool {
		return path == may || first != "spanctl" && strings.HasPrefix(path, may+"/")
	})
}

// TestPolicyNeverReachesTheSwitch looks at what comes with what is imported.
func TestPolicyNeverReachesTheSwitch(t *testing.T) {
	for _, p := range goList(t, "-deps", "./policy/...") {
		for _, never := range []string{"spanctl/ovs", "spanctl/cmd", "github.com/ovn-kubernetes/libovsdb", "github.com/spf13", "os/exec", "net/http"} {
			if p.ImportPath == never || strings.HasPrefix(p.ImportPath, never+"/") {
				t.Errorf("policy depends on %s", p.ImportPath)
			}
		}
	}
	for _, p := range goList(t, "-deps", "./ovs") {
		if strings.HasPrefix(p.ImportPath, "spanctl/ovs/ovstest") || strings.HasPrefix(p.ImportPath, "github.com/spf13") {
			t.Errorf("ovs depends on %s", p.ImportPath)
		}
	}
}

// TestOnlyTheDemoUsesTheLab looks at the files of the program.
func TestOnlyTheDemoUsesTheLab(t *testing.T) {
	for _, p := range goList(t, "./cmd/...") {
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range file.Imports {
				if spec.Path.Value == `"spanctl/ovs/ovstest"` && name != "demo.go" {
					t.Errorf("%s/%s imports ovstest", p.ImportPath, name)
				}
			}
		}
	}
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	may := slices.Clone(topLevel)
	for line := range strings.Lines(string(ignored)) {
		may = append(may, strings.Trim(strings.TrimSpace(line), "/"))
	}
	for _, entry := range entries {
		if name := entry.Name(); name[0] != '.' && !slices.Contains(may, name) {
			t.Errorf("the top level holds %s", name)
		}
	}
}
