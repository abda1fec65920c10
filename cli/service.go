package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lighter-k8s/lighter/pki"
)

func (s *settings) serviceFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.service, "service", false, "install and start this as a systemd service that comes back after a reboot")
}

// given are the flags of the command line, for the same command in another process.
func (s *settings) given(cmd *cobra.Command) (out []string) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "service", "foreground", "kubeconfig", "timeout":
			return
		}
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		if f.Value.Type() == "stringToString" {
			value = strings.Trim(value, "[]") // it shows [key=value,...] and reads key=value,...
		}
		out = append(out, "--"+f.Name+"="+value)
	})
	return out
}

// unit is the text of a systemd unit. Pods are not systemd's to end (KillMode), and cgroups below the service are ours (Delegate).
func unit(program, command string, flags []string) string {
	words := []string{program, command}
	if command == "up" {
		words = append(words, "--foreground")
	}
	words = append(words, flags...)
	for n, w := range words {
		if strings.ContainsAny(w, " \t\"'\\$%;") {
			words[n] = strconv.Quote(strings.NewReplacer("%", "%%", "$", "$$").Replace(w))
		}
	}
	return fmt.Sprintf(`[Unit]
Description=Lighter (%s)
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart=%s
Restart=always
RestartSec=1
TimeoutStartSec=120
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=0
TasksMax=infinity
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
`, command, strings.Join(words, " "))
}

// installService writes the unit and, where systemd runs, enables and starts it.
func installService(out io.Writer, command string, flags []string) error {
	if os.Geteuid() != 0 {
		return errors.New("--service needs root")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	const name = "lighter.service"
	path := filepath.Join("/etc/systemd/system", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := pki.WriteFile(path, []byte(unit(self, command, flags)), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(out, "wrote %s\n", path)
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		fmt.Fprintln(out, "systemd does not run here: the unit starts with the next boot that it runs on, once it is enabled (systemctl enable lighter)")
		return nil
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", "--now", name}} {
		if text, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, text)
		}
	}
	fmt.Fprintf(out, "started %s\n", name)
	return nil
}
