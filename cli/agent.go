package cli

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/role"
)

func agentCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run a node of a cluster, in the foreground until a signal ends it",
		Long: `Run a node: container runtime, kubelet, pod network, proxy and DNS, in the foreground
until SIGINT or SIGTERM. The first time it needs a token from 'lighter token create'; later its own
certificate is enough. Pods outlive the agent: a restart or an upgrade ends none of them.`,
		Example: "  lighter agent --server https://10.0.0.5:6443 --token $TOKEN",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := s.load(cmd)
			if err != nil {
				return err
			}
			if c.Node.Server == "" {
				return usageError{errors.New("--server is needed: the URL of the cluster's API")}
			}
			if s.service {
				return installService(cmd.OutOrStdout(), "agent", s.given(cmd))
			}
			if os.Geteuid() != 0 {
				return errors.New("agent needs root, for containers and the pod network")
			}
			return run(cmd.Context(), c, log, role.Describe(c, Version, "node"), role.Agent)
		},
	}
	s.common(cmd)
	s.knobs(cmd, joinKnobs, nodeKnobs)
	s.serviceFlag(cmd)
	return cmd
}
