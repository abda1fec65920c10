package role

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lighter-k8s/lighter/audit"
	"github.com/lighter-k8s/lighter/config"
)

// openAudit makes the audit trail that the configuration describes; nil: none.
func openAudit(c *config.Config, log *slog.Logger) (*audit.Trail, error) {
	a := c.Server.Audit
	policy := audit.DefaultPolicy()
	if a.PolicyFile != "" {
		data, err := os.ReadFile(a.PolicyFile)
		if err == nil {
			policy, err = audit.ParsePolicy(data)
		}
		if err != nil {
			return nil, fmt.Errorf("audit policy %s: %w", a.PolicyFile, err)
		}
	}
	var file *audit.Log
	if a.Log.Path != "none" {
		file = audit.NewLog(audit.LogOptions{Path: a.Log.Path, Mode: audit.Mode(a.Log.Mode), MaxSize: int64(a.Log.MaxSize) << 20,
			MaxAge: time.Duration(a.Log.MaxAge) * 24 * time.Hour, MaxBackups: a.Log.MaxBackup, Log: log, Now: time.Now})
	}
	var hook *audit.Webhook
	if a.Webhook.ConfigFile != "" {
		o, err := webhookOptions(a.Webhook)
		if err != nil {
			return nil, fmt.Errorf("audit webhook %s: %w", a.Webhook.ConfigFile, err)
		}
		o.Log = log
		hook = audit.NewWebhook(o)
	}
	if file == nil && hook == nil {
		return nil, nil
	}
	return audit.New(policy, time.Now, file, hook), nil
}

// webhookTimeout bounds one try to post. Source: kube-apiserver, webhooks.
const webhookTimeout = 30 * time.Second

func webhookOptions(a config.AuditTo) (o audit.WebhookOptions, err error) {
	kube, err := clientcmd.BuildConfigFromFlags("", a.ConfigFile)
	if err != nil {
		return o, err
	}
	kube.Timeout = webhookTimeout
	client, err := rest.HTTPClientFor(kube)
	if err != nil {
		return o, err
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // events go where we were told, and nowhere else
	wait, err := time.ParseDuration(a.BatchWait)
	if err != nil {
		return o, err
	}
	backoff, err := time.ParseDuration(a.InitialBackoff)
	return audit.WebhookOptions{URL: kube.Host, Client: client, Mode: audit.Mode(a.Mode), Buffer: a.BufferSize, Batch: a.BatchSize, MaxWait: wait,
		QPS: a.ThrottleQPS, Burst: a.ThrottleBurst, Backoff: backoff}, err
}
