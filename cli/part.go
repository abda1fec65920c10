package cli

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
)

// partCommand runs one part alone, against any Kubernetes API server.
func partCommand(name, short, long string, sets [][]knob, more func(*cobra.Command, *role.Part),
	run func(role.Part, context.Context, *config.Config, *slog.Logger) error) *cobra.Command {
	var s settings
	var p role.Part
	cmd := &cobra.Command{
		Use: name, Short: short, Long: long + "\n\nIt runs in the foreground until a signal ends it, against any Kubernetes API server that the\nkubeconfig names, with the rights of its user.",
		Example: "  lighter " + name + " --kubeconfig " + name + ".kubeconfig",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := s.load(cmd)
			if err != nil {
				return err
			}
			if p.Kubeconfig == "" {
				return usageError{errors.New("--kubeconfig is needed")}
			}
			slacken(log)
			if err := run(p, cmd.Context(), c, log); cmd.Context().Err() == nil || !errors.Is(err, context.Canceled) {
				return err
			}
			return nil // a signal ended it
		},
	}
	s.common(cmd)
	s.knobs(cmd, sets...)
	cmd.Flags().StringVar(&p.Kubeconfig, "kubeconfig", "", "kubeconfig of the cluster, with the identity to act as")
	if more != nil {
		more(cmd, &p)
	}
	return cmd
}

// only picks knobs by flag.
func only(from []knob, flags ...string) (out []knob) {
	for _, k := range from {
		for _, f := range flags {
			if k.flag == f {
				out = append(out, k)
			}
		}
	}
	return out
}

func partCommands() []*cobra.Command {
	return []*cobra.Command{
		partCommand("scheduler", "Run the scheduler alone", "Run the scheduler: it binds each pod that waits to a node that suits it.", nil, nil, role.Part.Scheduler),
		partCommand("controllers", "Run the controllers alone", "Run all controllers, as kube-controller-manager does.",
			[][]knob{only(serverKnobs, "pod-cidr", "node-monitor-grace-seconds")}, func(cmd *cobra.Command, p *role.Part) {
				cmd.Flags().StringVar(&p.AuthorityCert, "cluster-signing-cert-file", "", "PEM file with the authority that answers signing requests (default: they are not answered)")
				cmd.Flags().StringVar(&p.AuthorityKey, "cluster-signing-key-file", "", "PEM file with its key")
			}, role.Part.Controllers),
		partCommand("cloud-controllers", "Run the cloud controllers alone", "Run the cloud controllers with the built-in local cloud: zones of nodes, load balancers of Services.",
			[][]knob{only(serverKnobs, "load-balancer-cidr")}, nil, role.Part.CloudControllers),
		partCommand("kubelet", "Run a kubelet alone", "Run a kubelet with, unless a CRI socket is given, the carried container runtime.",
			[][]knob{nodeKnobs, only(serverKnobs, "cluster-domain")}, func(cmd *cobra.Command, p *role.Part) {
				cmd.Flags().StringSliceVar(&p.ClusterDNS, "cluster-dns", nil, "addresses of cluster DNS for pods' resolv.conf (default: the node's own resolvers)")
			}, role.Part.Kubelet),
		partCommand("proxy", "Run a node's proxy alone", "Run the proxy: Services and EndpointSlices as nftables rules of this node.",
			[][]knob{only(nodeKnobs, "node-name", "node-ip"), only(serverKnobs, "pod-cidr", "service-cidr")}, nil, role.Part.Proxy),
	}
}
