package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/role"
)

func certsList() *cobra.Command {
	var s settings
	var output string
	cmd := &cobra.Command{
		Use: "list", Short: "List all certificates of this machine: whose, by whom, until when, when they are renewed",
		Long: `List the certificates and the keys of service account tokens of a data directory, whether Lighter runs from it or not.
Exit code 4: one of them has ended or cannot be read.`,
		Example: "  lighter certs list\n  lighter certs list -o json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.last(cmd)
			if err != nil {
				return err
			}
			all, err := role.Certificates(c)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return fmt.Errorf("there are no certificates in %s; give --data-dir", c.DataDir)
			}
			now := time.Now()
			switch output {
			case "json":
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(all)
			case "", "wide":
				err = printCertificates(cmd.OutOrStdout(), all, now, output == "wide")
			default:
				return usageError{fmt.Errorf("-o %q: want json or wide", output)}
			}
			for _, e := range all {
				if err == nil && e.Ended(now) {
					err = exitCode(4)
				}
			}
			return err
		},
	}
	s.common(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or wide for names and files too")
	return cmd
}

// last is how the last process of the data directory was set up, or the configuration as it is.
func (s *settings) last(cmd *cobra.Command) (*config.Config, error) {
	c, _, err := s.load(cmd)
	if err != nil {
		return nil, err
	}
	last, err := role.Recall(c.DataDir)
	if last == nil || err != nil {
		return c, err
	}
	last.DataDir = c.DataDir
	return last, last.Complete()
}

func printCertificates(out io.Writer, all []pki.Entry, now time.Time, wide bool) error {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	head := "NAME\tKIND\tSUBJECT\tISSUER\tENDS\tLEFT\tRENEWED IN"
	if wide {
		head += "\tNAMES\tFILE"
	}
	fmt.Fprintln(t, head)
	for _, e := range all {
		ends, left, renewed := "never", "", "-"
		if e.Ends != nil {
			if ends, left = e.Ends.Format(time.DateTime), span(e.Ends.Sub(now)); e.Ended(now) {
				left = "ended"
			}
		}
		switch {
		case e.Step != "":
			renewed = e.Step
		case e.Renewed != nil:
			renewed = span(max(0, e.Renewed.Sub(now)))
		}
		subject := e.Subject
		switch {
		case e.Error != "":
			subject, ends, left, renewed = e.Error, "?", "?", "?"
		case subject == "":
			subject = "made " + span(now.Sub(e.Begins)) + " ago"
		}
		line := []string{e.Name, e.Kind, subject, e.Issuer, ends, left, renewed}
		if wide {
			line = append(line, strings.Join(e.Names, ","), e.File)
		}
		fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	return t.Flush()
}

// span is a duration as people say it: days, hours, minutes or seconds.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

func certsRotate() *cobra.Command {
	var s settings
	var authority, drop bool
	var forget string
	cmd := &cobra.Command{
		Use: "rotate [NAME...]", Short: "Replace certificates now: those of these names, or all",
		Long: `Replace certificates and their keys now, whatever is left of their life. While Lighter runs from the data directory, all its parts
take the new ones without a restart. Names are those of 'lighter certs list'.
The key that signs service account tokens is replaced when it is named, service-account: tokens of before stay good, for as long as
they live; those that were asked for with a life of more than a year end with the next but one key. On several servers each has a key
of its own, and the others learn of a new one before it is used.

With --authority, the authorities are meant that sign certificates: ca, front-proxy-ca and, of several servers, etcd/ca; all, or those
that are named. By itself that happens at two thirds of an authority's life, but not on an etcd of one's own, where others than Lighter may
have to know. A new one is made, and trusted beside the old one by all
servers, nodes, kubeconfigs of theirs, pods (kube-root-ca.crt) and other API servers; then it signs, and all certificates are replaced.
What the old one signed, and kubeconfigs that name it, stay good until the old one is dropped, which is when the last certificate that it
signed has ended; 'lighter certs list' says when. Until then everybody has to have fetched his kubeconfig anew ('lighter kubeconfig'), and
programs that read whom they trust only once have to have been started again. --drop-old drops it now: somebody else has its key, say.
The members of the servers' own store start again then, one after the other.`,
		Example: "  lighter certs rotate\n  lighter certs rotate apiserver admin\n  lighter certs rotate service-account\n  lighter certs rotate --authority ca\n  lighter certs rotate --authority ca --drop-old",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.last(cmd)
			if err != nil {
				return err
			}
			if !authority && (drop || forget != "") {
				return usageError{errors.New("--drop-old and --forget go with --authority")}
			}
			say := func(format string, args ...any) { fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...) }
			if authority {
				q := url.Values{"name": args, "forget": {forget}}
				if drop {
					q.Set("drop", "1")
				}
				return s.notRunning(role.AskTo(cmd.Context(), c.DataDir, "/certs/follow?"+q.Encode(), func(line string) { say("%s", line) }))
			}
			err = role.AskTo(cmd.Context(), c.DataDir, "/certs/rotate?"+url.Values{"name": args}.Encode(), func(line string) { say("%s", line) })
			if !errors.Is(err, role.ErrNotRunning) && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			lock, err := role.Lock(c.DataDir)
			if err != nil {
				return err
			}
			defer lock.Close()
			return role.RenewCertificates(c, say, args...)
		},
	}
	s.common(cmd)
	cmd.Flags().BoolVar(&authority, "authority", false, "have authorities followed by new ones, while Lighter runs")
	cmd.Flags().BoolVar(&drop, "drop-old", false, "with --authority: trust the former ones no more, now")
	cmd.Flags().StringVar(&forget, "forget", "", "with --authority: name of a server that is gone for good and need not be waited for")
	return cmd
}
