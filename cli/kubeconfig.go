package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/role"
)

func kubeconfigCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the administrator's kubeconfig",
		Long: `Print the administrator's kubeconfig. Where a cluster has several servers it has a context for each
other one too, "lighter-<address>": 'lighter kubectl' goes to another one by itself when the first does not answer. Any
other kubectl asks one server only, so another one takes --context; a name that resolves to the addresses of all
servers (give it to each with --tls-san) makes it try them in turn.`,
		Example: "  lighter kubeconfig --data-dir /srv/lighter > admin.conf",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := os.ReadFile(role.KubeconfigPath(s.DataDir))
			if err != nil {
				return fmt.Errorf("%w; is there a cluster in %s? start one with 'lighter up' or 'lighter server'", err, s.DataDir)
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
	s.common(cmd)
	return cmd
}
