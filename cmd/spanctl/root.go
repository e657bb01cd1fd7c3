package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"

	"spanctl/ovs"
)

// defaultConfig is read if it is there; a file named by --config must be.
const defaultConfig = "/etc/spanctl/spanctl.yaml"

// The output formats.
const (
	outputText = "text"
	outputJSON = "json"
)

// app is what commands share: streams, and settings by flag, environment and
// file, in that order.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	settings       *viper.Viper
	log            *slog.Logger
}

// globals are the flags that every command has, and the keys of the
// configuration file.
var globals = []string{"db", "output", "log-level", "log-format", "timeout", "ca-cert", "certificate", "private-key"}

func rootCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "spanctl",
		Short: "Mirror a host's traffic by policy, on Open vSwitch",
		Long: `spanctl mirrors the traffic of a virtualization host to an audit guest or a
remote collector, as a policy says, by Mirror rows and tap bridges of Open
vSwitch, with OpenFlow rules where they are needed. Of others' rows it changes a
destination's port alone, and gives it back.

Settings come from flags, then from SPANCTL_* in the environment (SPANCTL_DB,
SPANCTL_LOG_LEVEL, ...), then from ` + defaultConfig + ` or --config.

` + exitTable,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.configure(cmd) },
	}
	flags := cmd.PersistentFlags()
	flags.String("config", "", "configuration file (default "+defaultConfig+", if it is there)")
	flags.String("db", ovs.DefaultRemote(), "OVSDB remote: unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT")
	flags.StringP("output", "o", outputText, "output format: text or json")
	flags.String("log-level", "warn", "debug, info, warn or error; logs go to stderr")
	flags.String("log-format", "", "text, json or journald, which is the journal of systemd (default that of the output)")
	flags.Duration("timeout", 10*time.Second, "how long the whole command may take")
	flags.StringP("ca-cert", "C", "", "CA certificate of the server, for ssl:")
	flags.StringP("certificate", "c", "", "own certificate, for ssl:")
	flags.StringP("private-key", "p", "", "own private key, for ssl:")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w; see %s --help", errUsage, err, cmd.CommandPath())
	})
	cmd.AddCommand(
		validateCommand(a), planCommand(a), applyCommand(a), deleteCommand(a), getCommand(a),
		statusCommand(a), agentCommand(a), historyCommand(a), traceCommand(a), importCommand(a), bridgeCommand(a), schemaCommand(a), versionCommand(a), demoCommand(a),
	)
	for _, sub := range cmd.Commands() {
		if sub.Args == nil {
			sub.Args = cobra.NoArgs
		}
		sub.Args = usageArgs(sub.Args)
	}
	cmd.Args = usageArgs(cobra.NoArgs)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// usageArgs makes errors about arguments usage errors.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fmt.Errorf("%w: %w; see %s --help", errUsage, err, cmd.CommandPath())
		}
		return nil
	}
}

// configure reads the settings and sets the log up.
func (a *app) configure(cmd *cobra.Command) error {
	v := viper.New()
	v.SetEnvPrefix("SPANCTL")
	v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	v.AutomaticEnv()
	for _, name := range slices.Concat([]string{"config"}, globals, agentKeys, bridgeKeys) {
		flag := cmd.Flags().Lookup(name)
		if flag == nil {
			continue // another command's
		}
		if err := v.BindPFlag(name, flag); err != nil {
			return err
		}
	}
	a.settings = v
	file, required := v.GetString("config"), true
	if file == "" {
		file, required = defaultConfig, false
	}
	v.SetConfigFile(file)
	v.SetConfigType("yaml")
	if err := v.ReadInConfig(); err != nil && (required || !errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("%w: configuration file %s: %w", errUsage, file, err)
	}
	for _, key := range v.AllKeys() {
		if known := slices.Concat(globals, agentKeys, bridgeKeys); key != "config" && !slices.Contains(known, key) {
			return fmt.Errorf("%w: configuration file %s: unknown key %q; known are %s", errUsage, file, key, strings.Join(known, ", "))
		}
	}
	if out := v.GetString("output"); out != outputText && out != outputJSON {
		return fmt.Errorf("%w: output format %q; write text or json", errUsage, out)
	}
	timeout, err := time.ParseDuration(v.GetString("timeout"))
	if err != nil || timeout <= 0 {
		return fmt.Errorf("%w: timeout %q; write a duration such as 10s", errUsage, v.GetString("timeout"))
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(v.GetString("log-level"))); err != nil {
		return fmt.Errorf("%w: log level %q; write debug, info, warn or error", errUsage, v.GetString("log-level"))
	}
	format := v.GetString("log-format")
	if format == "" {
		format = v.GetString("output") // whose names are those of log formats
	}
	a.log, err = newLog(format, level, a.stderr)
	return err
}

func (a *app) output() string {
	if a.settings == nil {
		return outputText
	}
	return a.settings.GetString("output")
}

// connect dials the database and calls f with a context that ends with
// --timeout.
func (a *app) connect(cmd *cobra.Command, f func(context.Context, *ovs.Conn) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), a.settings.GetDuration("timeout"))
	defer cancel()
	conn, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return f(ctx, conn)
}

// dial connects to the database.
func (a *app) dial(ctx context.Context) (*ovs.Conn, error) {
	files := ovs.TLS{
		CACert:      a.settings.GetString("ca-cert"),
		Certificate: a.settings.GetString("certificate"),
		PrivateKey:  a.settings.GetString("private-key"),
	}
	return ovs.Dial(ctx, a.settings.GetString("db"), files, a.log)
}

// view returns the renderer of the output format.
func (a *app) view() view {
	if a.output() == outputJSON {
		return &jsonView{a.stdout}
	}
	return &textView{out: a.stdout, colour: isTerminal(a.stdout)}
}
