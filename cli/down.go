package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
)

func downCommand() *cobra.Command {
	var s settings
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End the pods, the runtime and Lighter; data stays",
		Long: `End this machine's pods, their container runtime and Lighter itself. Objects and data stay;
'lighter up' brings the cluster and its pods back.`,
		Example: "  lighter down",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := s.loadLast(cmd)
			if err != nil {
				return err
			}
			if err := stop(cmd.Context(), cmd.OutOrStdout(), c.DataDir); err != nil {
				return err
			}
			if err := role.Down(cmd.Context(), c, log, grace); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "down")
			return nil
		},
	}
	s.common(cmd)
	s.knobs(cmd, nodeKnobs, serverKnobs)
	cmd.Flags().DurationVar(&grace, "grace", 10*time.Second, "how long containers may take to end by themselves")
	return cmd
}

func resetCommand() *cobra.Command {
	var s settings
	var yes bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Remove the cluster from this machine: pods, data, rules, mounts",
		Long: `End everything as 'lighter down' does and then remove it: the data directory, packet rules,
routes, links, cgroups and mounts. The machine is as before. Nothing brings the data back.`,
		Example: "  lighter reset --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := s.loadLast(cmd)
			if err != nil {
				return err
			}
			if !yes {
				return usageError{fmt.Errorf("this removes all data in %s; say so with --yes", c.DataDir)}
			}
			if err := stop(cmd.Context(), cmd.OutOrStdout(), c.DataDir); err != nil {
				return err
			}
			if err := unmergeKubeconfig(c); err != nil {
				log.Warn("the context stays in the kubeconfig", "err", err)
			}
			if err := role.Reset(cmd.Context(), c, log); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "reset")
			return nil
		},
	}
	s.common(cmd)
	s.knobs(cmd, nodeKnobs, serverKnobs)
	cmd.Flags().BoolVar(&yes, "yes", false, "really")
	return cmd
}

// loadLast is the configuration that the last process of the data directory ran with; flags win over it.
func (s *settings) loadLast(cmd *cobra.Command) (*config.Config, *slog.Logger, error) {
	c, log, err := s.load(cmd)
	if err != nil {
		return nil, nil, err
	}
	last, err := role.Recall(c.DataDir)
	if err != nil || last == nil {
		return c, log, err
	}
	if f := cmd.Flags(); f.Changed("node-name") && !f.Changed("cgroup-parent") {
		last.Node.CgroupParent = "" // it follows from the name
	}
	overlay(cmd, last, &s.Config)
	last.DataDir = c.DataDir
	return last, log, last.Complete()
}

// stop ends the Lighter that runs from a data directory, if one does, and waits until it has.
func stop(ctx context.Context, out io.Writer, dataDir string) error {
	if _, err := os.Stat(dataDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := role.AskToStop(ctx, dataDir)
	if errors.Is(err, role.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	for {
		lock, err := role.Lock(dataDir)
		if err == nil {
			return lock.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("lighter does not end; see %s/lighter.log", dataDir)
		}
	}
}
