package cli

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/runtime"
)

func imageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Images on this node: load, list"}
	cmd.AddCommand(imageLoad(), imageList())
	return cmd
}

// socket is that of the node's container runtime.
func socket(c *config.Config) (string, error) {
	if c.Node.RuntimeEndpoint != "" {
		return c.Node.RuntimeEndpoint, nil
	}
	dirs, err := runtime.NewDirs(c.DataDir)
	return dirs.Socket, err
}

func imageLoad() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "load FILE...",
		Short: "Load images from archives into this node; no registry is needed",
		Long: `Load images from tar archives, as 'docker save' writes them or in OCI layout, plain or
compressed; "-" is standard input. Pods on this node can use them at once.`,
		Example: "  lighter image load web.tar\n  docker save web:1 | lighter image load -",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			c, _, err := s.load(cmd)
			if err != nil {
				return err
			}
			at, err := socket(c)
			if err != nil {
				return err
			}
			for _, name := range files {
				names, err := loadImage(cmd, at, name)
				if err != nil {
					return fmt.Errorf("load %s: %w", name, err)
				}
				for _, n := range names {
					fmt.Fprintf(cmd.OutOrStdout(), "loaded %s\n", n)
				}
			}
			return nil
		},
	}
	s.common(cmd)
	s.knobs(cmd, nodeKnobs)
	return cmd
}

func loadImage(cmd *cobra.Command, socket, name string) ([]string, error) {
	var in io.Reader = cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return runtime.ImportImage(cmd.Context(), socket, in)
}

func imageList() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "list", Short: "List this node's images", Example: "  lighter image list", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := s.load(cmd)
			if err != nil {
				return err
			}
			at, err := socket(c)
			if err != nil {
				return err
			}
			images, err := runtime.ListImages(cmd.Context(), at)
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "IMAGE\tID\tSIZE")
			for _, i := range images {
				names := i.Names
				if len(names) == 0 {
					names = []string{"<none>"}
				}
				id := i.ID
				if len(id) > 19 {
					id = id[:19]
				}
				for _, n := range names {
					fmt.Fprintf(t, "%s\t%s\t%.1f MiB\n", n, id, float64(i.Size)/(1<<20))
				}
			}
			return t.Flush()
		},
	}
	s.common(cmd)
	s.knobs(cmd, nodeKnobs)
	return cmd
}
