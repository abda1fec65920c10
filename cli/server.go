package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
)

func serverCommand() *cobra.Command {
	var s settings
	var reset bool
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a control plane, in the foreground until a signal ends it",
		Long: `Run a control plane: API server, cluster store, scheduler, controllers and cloud
controllers in one process, in the foreground until SIGINT or SIGTERM. No pods run here; nodes
join with 'lighter agent'.

Several servers: the first one with --cluster-init, the others with --join. Each then runs a member of
their common store, an etcd; three survive the loss of one, two the loss of none. A server that has joined
starts again without a token. Where most servers are lost for good, --cluster-reset makes one of the rest, from
what it has, the only one, and returns.`,
		Example: "  lighter server --data-dir /srv/lighter --listen 0.0.0.0:6443\n  lighter server --cluster-init\n  lighter server --join https://10.0.0.5:6443 --token $TOKEN",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := s.load(cmd)
			if err != nil {
				return err
			}
			if s.service {
				return installService(cmd.OutOrStdout(), "server", s.given(cmd))
			}
			if reset {
				if err := resetCluster(cmd.Context(), c, log); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "this server is now the only one of its cluster: start it with 'lighter server --data-dir %s', reset the others and let them join\n", c.DataDir)
				return err
			}
			return run(cmd.Context(), c, log, role.Describe(c, Version, "server"), role.Serve)
		},
	}
	s.common(cmd)
	s.knobs(cmd, serverKnobs)
	s.serviceFlag(cmd)
	cmd.Flags().BoolVar(&reset, "cluster-reset", false, "make this server the only one of its cluster, from its own data, and return")
	return cmd
}

// resetCluster runs while no server does from the data directory.
func resetCluster(ctx context.Context, c *config.Config, log *slog.Logger) error {
	lock, err := role.Lock(c.DataDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	return role.ResetCluster(ctx, c, log)
}
