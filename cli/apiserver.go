package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/role"
)

// apiserver is Lighter called as "kube-apiserver": an API server alone, for the flags that test environments and scripts pass to
// upstream's. It has no controllers, no scheduler and no audit log by itself, as upstream has none.
func apiserver(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := apiserverCommand()
	cmd.SetArgs(args)
	return execute(ctx, cmd)
}

// sameFlags are those of 'lighter server' that mean the same.
var sameFlags = []string{"tls-cert-file", "tls-private-key-file", "client-ca-file", "service-account-issuer", "service-account-signing-key-file",
	"service-account-key-file", "encryption-provider-config", "audit-policy-file", "audit-log-path", "audit-log-mode", "audit-log-format",
	"audit-log-maxage", "audit-log-maxbackup", "audit-log-maxsize", "audit-webhook-config-file", "audit-webhook-mode",
	"audit-webhook-batch-buffer-size", "audit-webhook-batch-max-size", "audit-webhook-batch-max-wait", "audit-webhook-batch-throttle-qps",
	"audit-webhook-batch-throttle-burst", "audit-webhook-initial-backoff", "authentication-config", "authentication-token-webhook-config-file",
	"authentication-token-webhook-version", "authentication-token-webhook-cache-ttl", "authorization-config", "authorization-mode",
	"oidc-issuer-url", "oidc-client-id", "oidc-username-claim", "oidc-username-prefix", "oidc-groups-claim", "oidc-groups-prefix",
	"oidc-required-claim", "oidc-signing-algs", "oidc-ca-file", "authorization-policy-file",
	"authorization-webhook-config-file", "authorization-webhook-version", "authorization-webhook-cache-authorized-ttl",
	"authorization-webhook-cache-unauthorized-ttl", "disable-admission-plugins", "runtime-config", "max-requests-inflight", "max-mutating-requests-inflight"}

// withoutMeaning are flags whose values change nothing here: what they ask for is always so, or sizes what Lighter sizes by itself.
var withoutMeaning = map[string]string{
	"allow-privileged": "privileged containers are allowed", "enable-admission-plugins": "all plugins are on", "enable-bootstrap-token-auth": "it is on",
	"anonymous-auth": "see --authentication-config", "storage-backend": "etcd3", "storage-media-type": "protobuf", "profiling": "it is on",
	"endpoint-reconciler-type":     "lease",
	"enable-priority-and-fairness": "it is on", "watch-cache": "it is on", "default-watch-cache-size": "there is none", "watch-cache-sizes": "there are none",
	"event-ttl": "1h", "feature-gates": "they stand as they do by default", "shutdown-delay-duration": "0s", "request-timeout": "1m", "goaway-chance": "0",
	"min-request-timeout": "30m", "v": "see --log", "vmodule": "see --log", "logtostderr": "it does", "logging-format": "text"}

func apiserverCommand() *cobra.Command {
	var s settings
	var certDir, bind, advertise, serviceCIDR, nodePorts, prefix string
	var port int
	var etcd struct {
		servers       []string
		ca, cert, key string
	}
	cmd := &cobra.Command{
		Use:   "kube-apiserver",
		Short: "Lighter's API server alone, as kube-apiserver",
		Long: `Lighter called as "kube-apiserver" is its API server alone, on an etcd, for the flags of upstream's that follow. No
controllers run beside it.`,
		Example: "  kube-apiserver --etcd-servers http://127.0.0.1:2379 --cert-dir /tmp/certs --bind-address 127.0.0.1 --secure-port 6443",
		Args:    cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(etcd.servers) == 0 {
				return usageError{errors.New("--etcd-servers is needed")}
			}
			if strings.Trim(prefix, "/") != "registry" {
				return usageError{fmt.Errorf("--etcd-prefix %s: want /registry", prefix)}
			}
			if s.DataDir == "" {
				s.DataDir = filepath.Join(certDir, "lighter")
			}
			c := &s.Config
			c.Server.Listen, c.Server.ListenOnly, c.Server.Advertise = net.JoinHostPort(bind, strconv.Itoa(port)), true, advertise
			c.Server.Store, c.Server.Etcd.Endpoints = "etcd", etcd.servers
			c.Server.Etcd.CA, c.Server.Etcd.Cert, c.Server.Etcd.Key = etcd.ca, etcd.cert, etcd.key
			c.Server.ServiceCIDR, c.Server.NodePorts = serviceCIDR, nodePorts
			c.Server.Disable = []string{"scheduler", "controllers", "cloud-controllers"}
			if c.Server.Audit.Log.Path == "" {
				c.Server.Audit.Log.Path = "none"
			}
			if len(c.Server.Authorization.Modes) == 0 && c.Server.Authorization.File == "" {
				c.Server.Authorization.Modes = []string{"RBAC"}
			}
			if own := filepath.Join(certDir, "apiserver"); c.Server.Given.Cert == "" && exists(own+".crt") && exists(own+".key") {
				c.Server.Given.Cert, c.Server.Given.Key = own+".crt", own+".key"
			}
			if err := c.Complete(); err != nil {
				return usageError{err}
			}
			log := logger(c.Log)
			for name, why := range withoutMeaning {
				if cmd.Flags().Changed(name) {
					log.Debug("flag without meaning", "flag", name, "why", why)
				}
			}
			return run(cmd.Context(), c, log, role.Describe(c, Version, "server"), role.Serve)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := cmd.Flags()
	f.StringVar(&certDir, "cert-dir", "/var/run/kubernetes", "folder with the API's certificate as apiserver.crt and apiserver.key, and for what else is kept")
	f.StringVar(&bind, "bind-address", "0.0.0.0", "address of the API")
	f.IntVar(&port, "secure-port", 6443, "its port")
	f.StringVar(&advertise, "advertise-address", "", "address by which pods reach it (default: that of the default route's interface)")
	f.StringSliceVar(&etcd.servers, "etcd-servers", nil, "URLs of the etcd that it stores in")
	f.StringVar(&etcd.ca, "etcd-cafile", "", "PEM file with the authority of its certificates")
	f.StringVar(&etcd.cert, "etcd-certfile", "", "PEM file with our certificate for it")
	f.StringVar(&etcd.key, "etcd-keyfile", "", "PEM file with its key")
	f.StringVar(&prefix, "etcd-prefix", "/registry", "what keys there begin with")
	f.StringVar(&serviceCIDR, "service-cluster-ip-range", "10.0.0.0/24", "network of the Services' cluster addresses")
	f.StringVar(&nodePorts, "service-node-port-range", "30000-32767", "range of node ports, first-last")
	f.StringVar(&s.DataDir, "data-dir", "", "folder for what is kept (default <cert-dir>/lighter)")
	f.StringVar(&s.Log, "log", "info", "what is logged: debug, info, warn or error")
	s.knobs(cmd, only(serverKnobs, sameFlags...))
	for name, why := range withoutMeaning {
		f.String(name, "", "taken, and without meaning: "+why)
		f.Lookup(name).NoOptDefVal = "true"
	}
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
