package cli

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/role"
)

func membersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "members", Short: "The servers of a cluster that has several: list, remove, replace",
		Long: `The servers of a cluster whose store is an etcd that Lighter runs ('lighter server --cluster-init'
and '--join'). Run it on one of them; its own process need not run.`}
	cmd.AddCommand(membersList(), membersRemove(), membersReplace())
	return cmd
}

// members reaches the servers that a data directory knows.
func (s *settings) members(cmd *cobra.Command) (*role.Members, error) {
	c, log, err := s.load(cmd)
	if err != nil {
		return nil, err
	}
	return role.OpenMembers(c, log)
}

func membersList() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "list", Short: "List the servers: who leads, who answers, what they have", Example: "  lighter members list", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := s.members(cmd)
			if err != nil {
				return err
			}
			defer m.Close()
			all, err := m.State(cmd.Context())
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "SERVER\tID\tSTATE\tREVISION\tSIZE\tIN USE\tETCD")
			voters, well := 0, 0
			for _, one := range all {
				state := "follows"
				switch {
				case one.Err != nil && one.Name == "":
					state = "has not started"
				case one.Err != nil:
					state = "does not answer"
				case one.Learner:
					state = "catches up"
				case one.Leader:
					state = "leads"
				}
				if len(one.Alarms) > 0 {
					state += ", " + strings.Join(one.Alarms, ", ")
				}
				if !one.Learner {
					voters++
					if one.Err == nil {
						well++
					}
				}
				fmt.Fprintf(t, "%s\t%x\t%s\t%d\t%d MiB\t%d MiB\t%s\n", one.Name, one.ID, state, one.Revision, one.Size>>20, one.InUse>>20, one.Version)
			}
			if err := t.Flush(); err != nil {
				return err
			}
			for _, one := range all {
				if one.Err != nil && one.Name != "" {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %v\n", one.Name, one.Err)
				}
			}
			need := voters/2 + 1
			switch out := cmd.OutOrStdout(); {
			case voters == 2:
				fmt.Fprintln(out, role.TwoServers)
			case voters == 1:
				fmt.Fprintln(out, "one server: nothing survives its loss but a backup; add two with 'lighter server --join'")
			default:
				fmt.Fprintf(out, "writes need %d of %d servers; %d more may fail\n", need, voters, max(0, well-need))
			}
			return nil
		},
	}
	s.common(cmd)
	return cmd
}

func membersRemove() *cobra.Command {
	var s settings
	var force bool
	cmd := &cobra.Command{
		Use: "remove SERVER", Short: "Remove a server for good, by name or id", Example: "  lighter members remove 10.0.0.7", Args: cobra.ExactArgs(1),
		Long: `Remove a server from its cluster for good. Refused where the servers that are left would not be
enough to go on. A removed server ends; it comes back with 'lighter server --join' and a new token.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := s.members(cmd)
			if err != nil {
				return err
			}
			defer m.Close()
			if err := m.Drop(cmd.Context(), args[0], force); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", args[0])
			return err
		},
	}
	s.common(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "even if the others cannot go on without it")
	return cmd
}

func membersReplace() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "replace SERVER", Short: "Remove a dead server and say how its replacement joins", Example: "  lighter members replace 10.0.0.7", Args: cobra.ExactArgs(1),
		Long: `Remove a server whose data is lost, or that is gone, and print the command by which another one (or
the same machine, with an empty data directory) takes its place.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := s.members(cmd)
			if err != nil {
				return err
			}
			defer m.Close()
			all, err := m.State(cmd.Context())
			if err != nil {
				return err
			}
			for _, one := range all {
				if one.Name == args[0] && one.Err == nil {
					return fmt.Errorf("%s answers: it is not dead; to take it out nevertheless: 'lighter members remove %s'", args[0], args[0])
				}
			}
			if err := m.Drop(cmd.Context(), args[0], false); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", args[0])
			token, err := s.newToken(cmd, role.JoinServersGroup, "made by lighter members replace", 24*time.Hour)
			if err != nil {
				return errors.Join(err, errors.New("make the token for its replacement with 'lighter token create --server'"))
			}
			url, err := s.apiURL(cmd)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "its replacement joins with:\n  lighter server --join %s --token %s\n", url, token)
			return err
		},
	}
	s.common(cmd)
	return cmd
}

// apiURL is where the data directory's server is reached by others.
func (s *settings) apiURL(cmd *cobra.Command) (string, error) {
	c, _, err := s.loadLast(cmd)
	if err != nil {
		return "", err
	}
	return role.APIURL(c)
}
