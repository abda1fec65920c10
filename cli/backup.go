package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/role"
)

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "backup", Short: "Save the cluster's state, list what was saved, restore all or a part of it"}
	cmd.AddCommand(backupSave(), backupList(), backupRestore())
	return cmd
}

const passphraseHelp = "file with a passphrase, behind which the cluster's authority and encryption keys are in the backup"

func passphrase(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(data))) == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	return data, err
}

func backupSave() *cobra.Command {
	var s settings
	var secret string
	cmd := &cobra.Command{
		Use: "save [FILE | FOLDER/ | s3://BUCKET/[PREFIX/]NAME.backup]", Short: "Save the cluster's state, consistent, while it runs",
		Long: `Save all objects of the cluster, as they are at one moment, and check what was written by reading it back. It works while the
server runs, and on the data directory of one that does not. Values that are encrypted in the store are so in the backup;
'lighter backup list' shows which keys it needs. The cluster's authority and its encryption keys are in it only with
--passphrase-file: without them a machine that is lost comes back with its objects, but not as the same cluster.`,
		Example: "  lighter backup save\n  lighter backup save --passphrase-file pass.txt s3://backups/shop/monday.backup",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, log, err := s.load(cmd)
			if err != nil {
				return err
			}
			pass, err := passphrase(secret)
			if err != nil {
				return err
			}
			where, info, err := role.SaveBackup(cmd.Context(), c, log, strings.Join(args, ""), pass)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s: %d objects at revision %d, read back and whole\n", where, info.Entries, info.Revision)
			if !info.Sealed {
				fmt.Fprintln(out, "the cluster's authority and encryption keys are not in it; --passphrase-file adds them")
			}
			return nil
		},
	}
	s.common(cmd)
	s.knobs(cmd, serverKnobs)
	cmd.Flags().StringVar(&secret, "passphrase-file", "", passphraseHelp)
	return cmd
}

func backupList() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "list [FILE | FOLDER | s3://BUCKET/PREFIX]", Short: "List backups, those by schedule too",
		Long:    "List the backups of a place (default: where the scheduled ones go), oldest first. Those in folders are read and checked.",
		Example: "  lighter backup list", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := s.load(cmd)
			if err != nil {
				return err
			}
			all, err := role.ListBackups(cmd.Context(), c, strings.Join(args, ""))
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "BACKUP\tSAVED\tSIZE\tOBJECTS\tREVISION\tKEYS\tAUTHORITY")
			for _, b := range all {
				line := fmt.Sprintf("%s\t%s\t%d KiB", b.Where, b.Time.Local().Format(time.DateTime), (b.Size+1023)>>10)
				switch {
				case b.Err != nil:
					line += "\tunusable: " + b.Err.Error()
				case b.Info.Entries > 0:
					var keys []string
					for _, k := range b.Info.Keys {
						keys = append(keys, k.Name)
					}
					sealed := "no"
					if b.Info.Sealed {
						sealed = "behind a passphrase"
					}
					line += fmt.Sprintf("\t%d\t%d\t%s\t%s", b.Info.Entries, b.Info.Revision, strings.Join(keys, ","), sealed)
				}
				fmt.Fprintln(t, line)
			}
			return t.Flush()
		},
	}
	s.common(cmd)
	s.knobs(cmd, serverKnobs)
	return cmd
}

func backupRestore() *cobra.Command {
	var s settings
	var secret string
	var margin int64
	var all bool
	var u role.Undo
	cmd := &cobra.Command{
		Use: "restore [FILE | s3://BUCKET/[PREFIX/]NAME.backup]", Short: "Restore the cluster's state, or one object or namespace of it",
		Long: `Restore all objects of a backup into the data directory of a cluster that does not run, or into an empty etcd
(--store etcd). The backup is checked first, and that the keys are at hand which its values need; only then is something changed.
Objects keep their UIDs; revisions go on above all that clients have seen, so that they list again. The store before is
moved aside, not removed. Interrupted at any moment, either the store before or the restored one is there.

With --object, or --namespace and --all, one object or those of a namespace are brought back while the server runs: from its
history (--at: five to ten minutes are kept) or from a backup (--from). They are written as an administrator would: what is
there is updated and keeps its UID, what is gone is created and gets a new one, and what controllers make is left to them.`,
		Example: "  lighter down && lighter backup restore /backups/monday.backup && lighter up\n" +
			"  lighter backup restore --passphrase-file pass.txt s3://backups/shop/monday.backup\n" +
			"  lighter backup restore --object deployment/web -n shop --at 5m --dry-run\n  lighter backup restore -n shop --all --from /backups/monday.backup",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if u.Object != "" || u.Namespace != "" || all {
				return s.undo(cmd, u, all, args)
			}
			if len(args) != 1 || u.At != "" || u.From != "" || u.DryRun {
				return usageError{errors.New("want a backup to restore the whole cluster from, or --object, or --namespace with --all")}
			}
			c, log, err := s.load(cmd)
			if err != nil {
				return err
			}
			say := func(format string, args ...any) { fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...) }
			pass, err := passphrase(secret)
			if err != nil {
				return err
			}
			return role.Restore{From: args[0], Passphrase: pass, Margin: margin, Say: say}.Run(context.WithoutCancel(cmd.Context()), c, log)
		},
	}
	s.common(cmd)
	s.knobs(cmd, serverKnobs)
	cmd.Flags().StringVar(&secret, "passphrase-file", "", passphraseHelp+": they replace those of the data directory")
	cmd.Flags().Int64Var(&margin, "revision-margin", 0, "how far to raise the revision above the newest that is known (default: 10000 where the store before is there, else 1000000000; into etcd 100000)")
	cmd.Flags().StringVar(&u.Object, "object", "", "one object, kind/name, such as deployment/web")
	cmd.Flags().StringVarP(&u.Namespace, "namespace", "n", "", "its namespace, or with --all the one whose objects are restored")
	cmd.Flags().BoolVar(&all, "all", false, "all objects of the namespace, and itself")
	cmd.Flags().StringVar(&u.At, "at", "", "as of when: how long ago (5m), a time, or a revision")
	cmd.Flags().StringVar(&u.From, "from", "", "a backup instead of the store's history")
	cmd.Flags().BoolVar(&u.DryRun, "dry-run", false, "only show what would change")
	cmd.Flags().BoolVar(&u.Owned, "owned", false, "with --all: what controllers made too")
	return cmd
}

// undo restores one object or namespace while the server runs.
func (s *settings) undo(cmd *cobra.Command, u role.Undo, all bool, args []string) error {
	switch {
	case all == (u.Object != ""):
		return usageError{errors.New("want either --object or --all")}
	case len(args) == 1 && u.From == "":
		u.From = args[0]
	}
	if (u.At == "") == (u.From == "") {
		return usageError{errors.New("want either --at or --from")}
	}
	c, _, err := s.load(cmd)
	if err != nil {
		return err
	}
	if u.From != "" {
		path, done, err := role.LocalBackup(cmd.Context(), c, u.From)
		if err != nil {
			return err
		}
		defer done()
		u.From = path
	}
	err = role.AskToUndo(cmd.Context(), s.DataDir, u, func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) })
	return s.notRunning(err)
}
