package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/role"
)

func statusCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "What runs, since when, how much memory it uses, what is wrong",
		Example: "  lighter status",
		Long:    "Show what runs from a data directory. Exit code 3: nothing runs; 4: it runs and is not ready.",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			state, err := role.Ask(cmd.Context(), s.DataDir)
			if errors.Is(err, role.ErrNotRunning) || errors.Is(err, os.ErrNotExist) {
				fmt.Fprintf(out, "not running (data directory %s)\n", s.DataDir)
				return exitCode(3)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "lighter %s, %s\n", state.Version, strings.Join(state.Roles, " and "))
			fmt.Fprintf(out, "running since %s (%s), data in %s\n", state.Started.Format(time.DateTime), time.Since(state.Started).Round(time.Second), state.DataDir)
			if state.Ready {
				fmt.Fprintf(out, "ready after %.2f s\n", state.ReadyIn)
			} else {
				last := "nothing yet"
				if n := len(state.Steps); n > 0 {
					last = state.Steps[n-1].Name
				}
				fmt.Fprintf(out, "not ready; last step done: %s; see %s\n", last, filepath.Join(state.DataDir, "lighter.log"))
			}
			if all := role.Servers(state.DataDir); all != nil {
				fmt.Fprintf(out, "servers: %s; see 'lighter members list'\n", strings.Join(all, ", "))
				if len(all) == 2 {
					fmt.Fprintln(out, role.TwoServers)
				}
			}
			t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "PROCESS\tPID\tANONYMOUS\tRESIDENT")
			var anon, rss int
			for _, p := range family(state) {
				fmt.Fprintf(t, "%s\t%d\t%d MiB\t%d MiB\n", p.name, p.pid, p.anon>>10, p.rss>>10)
				anon, rss = anon+p.anon, rss+p.rss
			}
			fmt.Fprintf(t, "all\t\t%d MiB\t%d MiB\n", anon>>10, rss>>10)
			if err := t.Flush(); err != nil {
				return err
			}
			if b := state.Snapshot; b != nil && b.Failed != "" {
				fmt.Fprintf(out, "the backup by schedule of %s failed: %s\n", b.At.Local().Format(time.DateTime), b.Failed)
			} else if b != nil {
				fmt.Fprintf(out, "last backup by schedule: %s\n", b.Where)
			}
			for _, text := range state.Wrong {
				fmt.Fprintln(out, "wrong:", text)
			}
			if !state.Ready {
				return exitCode(4)
			}
			return nil
		},
	}
	s.common(cmd)
	return cmd
}

// process is one process and the memory it uses, in KiB.
type process struct {
	name      string
	pid       int
	anon, rss int
}

// family finds Lighter's own processes: itself, its container runtime, and the runtime's shims, those as one line.
func family(state role.State) []process {
	out := []process{memory(state.PID)}
	shims := process{name: "containerd-shim"}
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(data), "\x00")
		if !strings.HasPrefix(args[0], state.DataDir+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		p := memory(pid)
		if strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") {
			shims.pid, shims.anon, shims.rss = pid, shims.anon+p.anon, shims.rss+p.rss
			continue
		}
		out = append(out, p)
	}
	if shims.pid != 0 {
		out = append(out, shims)
	}
	return out
}

// memory reads what the kernel says of a process.
func memory(pid int) process {
	p := process{pid: pid}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return p
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "Name:":
			p.name = f[1]
		case "VmRSS:":
			p.rss, _ = strconv.Atoi(f[1])
		case "RssAnon:":
			p.anon, _ = strconv.Atoi(f[1])
		}
	}
	return p
}
