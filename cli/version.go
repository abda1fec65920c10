package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/role"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of Lighter and of the Kubernetes API that it serves",
		Example: "  lighter version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "lighter %s (Kubernetes %s, %s, %s/%s)\n", Version, role.KubernetesVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
