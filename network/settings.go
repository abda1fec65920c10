package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
)

// switches are the kernel's settings that pods need. bridge-nf-call makes the bridge show packets between
// pods of one node to conntrack, without which answers through a service would come from the wrong address.
// Reverse path filtering stays as it is: every way that we make is the same in both directions.
var switches = []struct {
	path   string
	module string // that makes it; its absence is logged, not an error
	six    bool   // only for IPv6
}{
	{"net/ipv4/ip_forward", "", false},
	{"net/ipv6/conf/all/forwarding", "", true},
	{"net/bridge/bridge-nf-call-iptables", "br_netfilter", false},
	{"net/bridge/bridge-nf-call-ip6tables", "br_netfilter", true},
}

// Remember notes in a file, unless it is there, how the kernel's settings are before a node changes them: its network
// does, and so do network plugins when a pod comes before that. Cleanup sets them back.
func Remember(file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	var b strings.Builder
	for _, s := range switches {
		if have, err := os.ReadFile("/proc/sys/" + s.path); err == nil {
			fmt.Fprintln(&b, s.path, strings.TrimSpace(string(have)))
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o600)
}

// restore sets back what Remember noted.
func (k *kernel) restore() error {
	if k.Before == "" {
		return nil
	}
	data, err := os.ReadFile(k.Before)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = within(k.NetNS, func() error {
		var errs []error
		for line := range strings.Lines(string(data)) {
			path, was, ok := strings.Cut(strings.TrimSpace(line), " ")
			if ok {
				errs = append(errs, setSwitch("/proc/sys/"+path, was))
			}
		}
		return errors.Join(errs...)
	})
	return errors.Join(err, os.Remove(k.Before))
}

// settings turns the switches on.
func (k *kernel) settings(ctx context.Context) error {
	six := false
	for _, p := range k.PodCIDRs {
		six = six || p.Addr().Is6()
	}
	return within(k.NetNS, func() error {
		for _, s := range switches {
			if s.six && !six {
				continue
			}
			err := setSwitch("/proc/sys/"+s.path, "1")
			if errors.Is(err, os.ErrNotExist) && s.module != "" {
				if text, failed := exec.CommandContext(ctx, "modprobe", s.module).CombinedOutput(); failed != nil {
					k.Log.Warn("load kernel module", "module", s.module, "err", failed, "output", strings.TrimSpace(string(text)))
				}
				err = setSwitch("/proc/sys/"+s.path, "1")
			}
			switch {
			case errors.Is(err, os.ErrNotExist) && s.module != "":
				k.Log.Warn("the kernel lacks a setting: pods of one node may not reach each other through services", "setting", s.path)
			case err != nil:
				return fmt.Errorf("set %s: %w", s.path, err)
			}
		}
		return nil
	})
}

// setSwitch writes only what differs: a setting may be right and not writable.
func setSwitch(path, value string) error {
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(have)) == value {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0o644)
}

// within runs f on a thread in the network namespace (a file descriptor; 0 is the process's own).
func within(ns int, f func() error) error {
	if ns == 0 {
		return f()
	}
	runtime.LockOSThread()
	own, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("find own network namespace: %w", err)
	}
	defer own.Close()
	if err := netns.Set(netns.NsHandle(ns)); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err = f()
	if back := netns.Set(own); back != nil {
		return fmt.Errorf("leave network namespace: %w", back) // the thread ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}
