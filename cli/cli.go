// Package cli is the command line: one file per subcommand, each with its flags,
// their defaults and an example. A command reads its configuration, hands it to role, and says
// what to do next when something is wrong.
package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/lighter-k8s/lighter/config"
)

// Version is Lighter's own version, set at build time.
var Version = "dev"

// Main runs the command line and returns the exit code: 0 done, 1 failed, 2 used wrongly,
// or that of a program that was executed in its place.
func Main(args []string) int {
	switch filepath.Base(args[0]) { // a link with the name of what is carried is that program
	case "kubectl":
		return kubectl(args[1:])
	case "etcd":
		return etcd(args[1:])
	case "kube-apiserver":
		return apiserver(args[1:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := command()
	root.SetArgs(args[1:])
	return execute(ctx, root)
}

// execute runs a command line and returns the exit code.
func execute(ctx context.Context, root *cobra.Command) int {
	cmd, err := root.ExecuteContextC(ctx)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", root.Name(), err)
	var wrong usageError
	if errors.As(err, &wrong) || cmd == root {
		fmt.Fprintf(os.Stderr, "see '%s --help'\n", cmd.CommandPath())
		return 2
	}
	return 1
}

// exitCode ends the process with a code and without a message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a command line that cannot be meant.
type usageError struct{ error }

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "lighter",
		Short: "Kubernetes as one fast, small binary",
		Long: `Lighter is Kubernetes as one fast, small binary, wire-compatible with Kubernetes 1.37.

  lighter up                  a cluster on this machine, ready in seconds
  lighter kubectl get pods    kubectl, built in
  lighter status              what runs, how much memory it uses, what is wrong
  lighter down                end it; data stays`,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(upCommand(), downCommand(), resetCommand(), statusCommand(), serverCommand(), agentCommand(),
		kubectlCommand(), kubeconfigCommand(), imageCommand(), tokenCommand(), admissionCommand(), membersCommand(), certsCommand(), backupCommand(), versionCommand())
	root.AddCommand(partCommands()...)
	return root
}

// settings are what the commands that run something share: the configuration and where it comes from.
type settings struct {
	config.Config
	file    string
	service bool // install instead of run
}

// common adds the flags that every such command has.
func (s *settings) common(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.DataDir, "data-dir", config.DefaultDataDir(), "folder for everything that Lighter keeps")
	f.StringVar(&s.file, "config", "", "configuration file (YAML); flags win over it (default <data-dir>/config.yaml)")
	f.StringVar(&s.Log, "log", "info", "what is logged: debug, info, warn or error")
}

// load reads the file, lays the flags that were given over it, completes and checks.
func (s *settings) load(cmd *cobra.Command) (*config.Config, *slog.Logger, error) {
	path, must := s.file, true
	if path == "" {
		path, must = filepath.Join(s.DataDir, "config.yaml"), false
	}
	c, err := config.Load(path, must)
	if err != nil {
		return nil, nil, err
	}
	flags := s.Config
	overlay(cmd, &c, &flags)
	if err := c.Complete(); err != nil {
		return nil, nil, usageError{err}
	}
	log := logger(c.Log)
	klog.SetSlogLogger(log) // what libraries say
	return &c, log, nil
}

func logger(level string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // checked by config
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
}
