package remote

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lighter-k8s/lighter/pki"
)

// Follow is New for who runs for long: when the kubeconfig, or a certificate's file that it names, changes, requests from then on are
// made with what it says by then. What is under way goes on. It returns the configuration as of now, too; told, if given, hears of later ones.
func Follow(ctx context.Context, kubeconfig string, log *slog.Logger, told ...func(*rest.Config)) (*Client, *rest.Config, error) {
	f := &followed{path: kubeconfig}
	cfg, err := f.read()
	if err != nil {
		return nil, nil, err
	}
	if err := f.use(cfg); err != nil {
		return nil, nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, nil, err
	}
	go f.follow(ctx, cfg, log, told)
	return ForHTTP(ctx, base, &http.Client{Transport: f, Timeout: cfg.Timeout}, log), cfg, nil
}

// followed is the way that the newest content of a kubeconfig leads.
type followed struct {
	path string
	way  atomic.Pointer[http.RoundTripper]
}

// RoundTrip implements http.RoundTripper.
func (f *followed) RoundTrip(r *http.Request) (*http.Response, error) {
	return (*f.way.Load()).RoundTrip(r)
}

// read loads the kubeconfig with all certificates that it names.
func (f *followed) read() (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", f.path)
	if err == nil {
		err = rest.LoadTLSFiles(cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", f.path, err)
	}
	cfg.CertFile, cfg.KeyFile, cfg.CAFile = "", "", ""
	return cfg, nil
}

func (f *followed) use(cfg *rest.Config) error {
	t, err := rest.TransportFor(cfg)
	if err != nil {
		return err
	}
	if old := f.way.Swap(&t); old != nil {
		utilnet.CloseIdleConnectionsFor(*old)
	}
	return nil
}

func (f *followed) follow(ctx context.Context, now *rest.Config, log *slog.Logger, told []func(*rest.Config)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause(now.CertData)):
		}
		next, err := f.read()
		if err == nil && (!bytes.Equal(next.CertData, now.CertData) || !bytes.Equal(next.KeyData, now.KeyData) || !bytes.Equal(next.CAData, now.CAData) ||
			next.BearerToken != now.BearerToken) {
			if err = f.use(next); err == nil {
				now = next
				log.Info("kubeconfig changed", "object", f.path)
				for _, tell := range told {
					tell(now)
				}
			}
		}
		if err != nil {
			log.Warn("the kubeconfig is not read again", "err", err)
		}
	}
}

// pause is how long a certificate need not be looked after: a minute, or less when its end is near.
func pause(data []byte) time.Duration {
	wait := time.Minute
	if c, err := pki.ParseCertificate(data); err == nil {
		wait = min(wait, time.Until(c.NotAfter)/10)
	}
	return max(wait, time.Second)
}
