package cli

import (
	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/role"
)

func serverCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a control plane, in the foreground until a signal ends it",
		Long: `Run a control plane: API server, cluster store, scheduler, controllers and cloud
controllers in one process, in the foreground until SIGINT or SIGTERM. No pods run here; nodes
join with 'lighter agent'.`,
		Example: "  lighter server --data-dir /srv/lighter --listen 0.0.0.0:6443",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := s.load(cmd)
			if err != nil {
				return err
			}
			if s.service {
				return installService(cmd.OutOrStdout(), "server", s.given(cmd))
			}
			return run(cmd.Context(), c, log, role.Describe(c, Version, "server"), role.Serve)
		},
	}
	s.common(cmd)
	s.knobs(cmd, serverKnobs)
	s.serviceFlag(cmd)
	return cmd
}
