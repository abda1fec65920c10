package cli

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/role"
)

func certsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "certs", Short: "Certificates and keys: list them, replace them",
		Long: `The certificates and keys of this machine. Certificates renew themselves at two thirds of their life while Lighter runs, and
whoever uses them takes the new ones without a restart.`}
	cmd.AddCommand(certsList(), certsRotate(), encryptionConfig(), encryptionStatus(), rotateEncryptionKey())
	return cmd
}

func encryptionConfig() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "encryption-config", Short: "Print the EncryptionConfiguration that another API server needs to read the store",
		Long: `Print the file by which another API server, of Lighter or upstream's, reads what is encrypted in this cluster's
store. It holds the keys: whoever has it and the store's data can read the Secrets.`,
		Example: "  (umask 077; lighter certs encryption-config > encryption.yaml)\n  kube-apiserver --encryption-provider-config encryption.yaml ...",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := s.load(cmd)
			if err != nil {
				return err
			}
			path := c.Server.Encrypt.ProviderConfig
			if path == "" {
				path = role.EncryptionFile(c.DataDir)
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("nothing is encrypted by the server of %s: there is no %s", c.DataDir, path)
			}
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
	s.common(cmd)
	s.knobs(cmd, serverKnobs)
	return cmd
}

func encryptionStatus() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "encryption-status", Short: "Show what is encrypted with which key, and how much is left to rewrite",
		Long:    "Show it for the server that runs from the data directory. Exit code 4: values cannot be read.",
		Example: "  lighter certs encryption-status", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			status, err := role.AskEncryption(cmd.Context(), s.DataDir)
			if err != nil {
				return s.notRunning(err)
			}
			if status.File == "" {
				fmt.Fprintln(out, "nothing is encrypted; see 'lighter server --help', --encryption-provider-config and --encrypt-resources")
				return nil
			}
			fmt.Fprintf(out, "configuration %s\n", status.File)
			t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "KEY\tFINGERPRINT\tWRITES\tVALUES")
			for _, k := range status.Keys {
				fmt.Fprintf(t, "%s\t%s\t%v\t%d\n", k.Name, k.Fingerprint, k.Writes, status.Stored[k.Name])
				delete(status.Stored, k.Name)
			}
			for _, name := range slices.Sorted(maps.Keys(status.Stored)) {
				fmt.Fprintf(t, "%s\tnot in the configuration\t\t%d\n", name, status.Stored[name])
			}
			if err := t.Flush(); err != nil {
				return err
			}
			for _, a := range status.Servers {
				fmt.Fprintf(out, "server %s reads %s and writes %s\n", a.Name, strings.Join(a.Reads, ", "), a.Writes)
			}
			if status.Stale > 0 {
				fmt.Fprintf(out, "%d values are not written as the configuration says; 'lighter certs rotate-encryption-key --rewrite' writes them again\n", status.Stale)
			}
			if status.Rotation != "" {
				fmt.Fprintf(out, "a rotation is under way, next step %s; 'lighter certs rotate-encryption-key' goes on with it\n", status.Rotation)
			}
			if n := len(status.Unreadable); n > 0 {
				fmt.Fprintf(out, "%d values cannot be read: %s\n", n, strings.Join(status.Unreadable, ", "))
				return exitCode(4)
			}
			return nil
		},
	}
	s.common(cmd)
	return cmd
}

func rotateEncryptionKey() *cobra.Command {
	var s settings
	var last, forget string
	var rewrite, byHand bool
	cmd := &cobra.Command{
		Use: "rotate-encryption-key", Short: "Replace the key that the store is encrypted with, while the server runs",
		Long: `Replace the key that encrypts values in the cluster store, without a restart, in steps: "add" makes a new key that
can be read with; "write" has new values written with it; "drop" writes all others again and removes the old keys.
Interrupted at any moment, nothing is lost, and the command goes on where it was. Servers that share a store get the new key
through it, encrypted with the old one; it is written with only when every server has said that it can read with it, and one that has not is
named. If somebody else may know the old key, use --by-hand: then you copy <data>/server/encryption.yaml to the other servers when
the command asks for it, and afterwards remove encryption-retired.yaml, which keeps the old key for older backups.`,
		Example: "  lighter certs rotate-encryption-key\n  lighter certs rotate-encryption-key --to add",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"", "add", "write", "drop"}, last) {
				return usageError{fmt.Errorf("--to %q: want add, write or drop", last)}
			}
			q := url.Values{"last": {last}, "forget": {forget}}
			if rewrite {
				q.Set("rewrite", "1")
			}
			if byHand {
				q.Set("byhand", "1")
			}
			err := role.AskTo(cmd.Context(), s.DataDir, "/encryption/rotate?"+q.Encode(), func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) })
			return s.notRunning(err)
		},
	}
	s.common(cmd)
	cmd.Flags().StringVar(&last, "to", "", "the last step to take: add, write or drop (default: all)")
	cmd.Flags().BoolVar(&rewrite, "rewrite", false, "only write again what is not written as the configuration says")
	cmd.Flags().BoolVar(&byHand, "by-hand", false, "do not give the new key to other servers through the store; you copy the file")
	cmd.Flags().StringVar(&forget, "forget", "", "name of a server that is gone for good and need not be waited for")
	return cmd
}

// notRunning says what to do when no server runs from the data directory.
func (s *settings) notRunning(err error) error {
	if errors.Is(err, role.ErrNotRunning) || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no server runs from %s; start it, or give --data-dir", s.DataDir)
	}
	return err
}
