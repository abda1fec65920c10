package role

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/dns"
	"github.com/lighter-k8s/lighter/network"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/proxy"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/runtime"
)

// lastName is the file in the data directory that says how the last process there was set up.
const lastName = "last.json"

// Remember notes how this process is set up, so that down and reset find all of it without being told again.
func Remember(c *config.Config) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return pki.WriteFile(filepath.Join(c.DataDir, lastName), data, 0o600)
}

// Recall is how the last process of a data directory was set up; nil when there was none.
func Recall(dataDir string) (*config.Config, error) {
	data, err := os.ReadFile(filepath.Join(dataDir, lastName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	c := &config.Config{}
	if err == nil {
		err = json.Unmarshal(data, c)
	}
	return c, err
}

// Down ends a node's pods and its carried runtime; no Lighter may run from the data directory. Data stays.
func Down(ctx context.Context, c *config.Config, log *slog.Logger, grace time.Duration) error {
	if c.Node.RuntimeEndpoint != "" {
		return runtime.EndPods(ctx, c.Node.RuntimeEndpoint, grace)
	}
	dirs, err := runtime.NewDirs(c.DataDir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dirs.Socket); err == nil {
		ending, cancel := context.WithTimeout(ctx, grace+30*time.Second)
		defer cancel()
		if err := runtime.EndPods(ending, dirs.Socket, grace); err != nil {
			log.Warn("not all pods ended in order", "err", err)
		}
		programs, err := runtime.Unpack(dirs.Programs)
		if err != nil {
			return err
		}
		d, err := runtime.New(runtime.Options{DataDir: c.DataDir, Programs: programs, Log: log, CNIConfDir: c.Node.CNIConfDir})
		if err != nil {
			return err
		}
		if err := d.Stop(ctx); err != nil {
			return err
		}
	}
	return errors.Join(runtime.Cleanup(ctx, trace(c)), unroute(c))
}

func trace(c *config.Config) runtime.Trace {
	return runtime.Trace{DataDir: c.DataDir, CgroupParent: c.Node.CgroupParent, Bridge: c.Node.Bridge}
}

// unroute takes packet rules, routes and addresses away.
func unroute(c *config.Config) error {
	var errs []error
	cidr, err := netip.ParsePrefix(c.Server.ServiceCIDR)
	if err != nil {
		return err
	}
	ip, err := nodeIP(c)
	if err != nil {
		return err
	}
	errs = append(errs, proxy.Cleanup(proxy.Config{ServiceCIDRs: []netip.Prefix{cidr}, NodeIPs: []netip.Addr{ip}, Log: slog.New(slog.DiscardHandler)}))
	errs = append(errs, network.Cleanup(network.Config{Before: settingsBefore(c), Log: slog.New(slog.DiscardHandler)}))
	errs = append(errs, dns.ReleaseAddress(registry.Nth(cidr, dnsIndex), 0))
	return errors.Join(errs...)
}

// settingsBefore is where a data directory remembers what a node's network changed of the kernel's settings.
func settingsBefore(c *config.Config) string { return filepath.Join(c.DataDir, "settings-before") }

// Reset is Down and then the end of all data.
func Reset(ctx context.Context, c *config.Config, log *slog.Logger) error {
	if _, err := os.Stat(c.DataDir); errors.Is(err, os.ErrNotExist) {
		return unroute(c)
	}
	if err := leave(ctx, c, log); err != nil {
		log.Warn("the other servers still count this one: run 'lighter members remove' on one of them", "err", err)
	}
	if err := Down(ctx, c, log, 2*time.Second); err != nil {
		return err
	}
	if err := os.RemoveAll(c.DataDir); err != nil {
		return fmt.Errorf("remove data: %w", err)
	}
	return nil
}

// AdminKubeconfig is the administrator's kubeconfig of a data directory's cluster.
func AdminKubeconfig(c *config.Config) (pki.Kubeconfig, error) {
	p, err := openPKI(c)
	if err != nil {
		return pki.Kubeconfig{}, err
	}
	return (&Server{Config: c, PKI: p}).Kubeconfig()
}
