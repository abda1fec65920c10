package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lighter-k8s/lighter/config"
)

// knob is one setting: its flag, and where the value lies in a Config. It is the only place where the two meet.
type knob struct {
	flag string
	add  func(f *pflag.FlagSet, c *config.Config)
	copy func(to, from *config.Config)
}

func text(name, value, help string, at func(*config.Config) *string) knob {
	return knob{name, func(f *pflag.FlagSet, c *config.Config) { f.StringVar(at(c), name, value, help) },
		func(to, from *config.Config) { *at(to) = *at(from) }}
}

func list(name, help string, at func(*config.Config) *[]string) knob {
	return knob{name, func(f *pflag.FlagSet, c *config.Config) { f.StringSliceVar(at(c), name, nil, help) },
		func(to, from *config.Config) { *at(to) = *at(from) }}
}

func number(name string, value int, help string, at func(*config.Config) *int) knob {
	return knob{name, func(f *pflag.FlagSet, c *config.Config) { f.IntVar(at(c), name, value, help) },
		func(to, from *config.Config) { *at(to) = *at(from) }}
}

func pairs(name, help string, at func(*config.Config) *map[string]string) knob {
	return knob{name, func(f *pflag.FlagSet, c *config.Config) { f.StringToStringVar(at(c), name, nil, help) },
		func(to, from *config.Config) { *at(to) = *at(from) }}
}

func toggle(name, help string, at func(*config.Config) *bool) knob {
	return knob{name, func(f *pflag.FlagSet, c *config.Config) { f.BoolVar(at(c), name, false, help) },
		func(to, from *config.Config) { *at(to) = *at(from) }}
}

var serverKnobs = []knob{
	text("listen", "127.0.0.1:6443", "address of the API, host:port; on loopback, the node's address is served too", func(c *config.Config) *string { return &c.Server.Listen }),
	text("advertise", "", "address by which nodes and pods reach the API (default: that of the default route's interface)", func(c *config.Config) *string { return &c.Server.Advertise }),
	list("tls-san", "further names and addresses for the API's certificate", func(c *config.Config) *[]string { return &c.Server.Names }),
	text("store", "embedded", "cluster store: embedded, etcd, or memory (forgets all at the end)", func(c *config.Config) *string { return &c.Server.Store }),
	toggle("cluster-init", "first of several servers: the store is an etcd that Lighter runs; the others join with --join", func(c *config.Config) *bool { return &c.Server.ClusterInit }),
	text("join", "", "URL of a server to join as a further server, with --token the first time", func(c *config.Config) *string { return &c.Server.Join }),
	text("token", "", "token that lets this server join (see 'lighter token create --server')", func(c *config.Config) *string { return &c.Server.Token }),
	number("etcd-port", 2379, "port of the etcd that Lighter runs; the one after it is for the other servers", func(c *config.Config) *int { return &c.Server.EtcdPort }),
	list("etcd-endpoints", "URLs of an external etcd, with --store etcd", func(c *config.Config) *[]string { return &c.Server.Etcd.Endpoints }),
	text("etcd-ca", "", "PEM file with the authority of etcd's certificates", func(c *config.Config) *string { return &c.Server.Etcd.CA }),
	text("etcd-cert", "", "PEM file with our certificate for etcd", func(c *config.Config) *string { return &c.Server.Etcd.Cert }),
	text("etcd-key", "", "PEM file with its key", func(c *config.Config) *string { return &c.Server.Etcd.Key }),
	text("encryption-provider-config", "", "EncryptionConfiguration file that says what is encrypted in the store, and how; read again when it changes (default: Secrets, with a key of our own, where Lighter keeps the store)", func(c *config.Config) *string { return &c.Server.Encrypt.ProviderConfig }),
	list("encrypt-resources", "resources to encrypt in the store with a key of our own, such as secrets,configmaps or '*.*'; none: nothing", func(c *config.Config) *[]string { return &c.Server.Encrypt.Resources }),
	text("backup-every", "", "time between two backups of the store, such as 6h; 0s: none (default: 6h where Lighter keeps the store)", func(c *config.Config) *string { return &c.Server.Backup.Every }),
	number("backup-keep", 5, "how many of these backups stay", func(c *config.Config) *int { return &c.Server.Backup.Keep }),
	text("backup-to", "", "folder for backups, or s3://bucket/prefix (default <data-dir>/server/backups)", func(c *config.Config) *string { return &c.Server.Backup.To }),
	text("backup-passphrase-file", "", "file with a passphrase, behind which the cluster's authority and keys are in these backups too", func(c *config.Config) *string { return &c.Server.Backup.PassphraseFile }),
	text("s3-endpoint", "", "URL of the S3 service of s3:// backups (default: $AWS_ENDPOINT_URL, or Amazon's)", func(c *config.Config) *string { return &c.Server.Backup.S3.Endpoint }),
	text("s3-region", "", "its region (default: $AWS_REGION, or us-east-1)", func(c *config.Config) *string { return &c.Server.Backup.S3.Region }),
	text("audit-policy-file", "", "audit.k8s.io/v1 Policy that says which requests are written down (default: all but reads and reports of nodes and of the cluster's own parts, health and discovery; level Metadata)", func(c *config.Config) *string { return &c.Server.Audit.PolicyFile }),
	text("audit-log-path", "", "file of the audit log; -: standard output; none: nowhere (default <data-dir>/server/audit/audit.log)", func(c *config.Config) *string { return &c.Server.Audit.Log.Path }),
	text("audit-log-mode", "batch", "when it is written: batch (within a second), blocking (before the answer), blocking-strict (or the request is refused)", func(c *config.Config) *string { return &c.Server.Audit.Log.Mode }),
	text("audit-log-format", "json", "its format: json", func(c *config.Config) *string { return &c.Server.Audit.Log.Format }),
	number("audit-log-maxage", 30, "days that full audit logs stay; -1: for ever", func(c *config.Config) *int { return &c.Server.Audit.Log.MaxAge }),
	number("audit-log-maxbackup", 5, "how many full audit logs stay; -1: all", func(c *config.Config) *int { return &c.Server.Audit.Log.MaxBackup }),
	number("audit-log-maxsize", 100, "megabytes at which an audit log is full; -1: never", func(c *config.Config) *int { return &c.Server.Audit.Log.MaxSize }),
	text("audit-webhook-config-file", "", "kubeconfig of a server to which audit events are posted", func(c *config.Config) *string { return &c.Server.Audit.Webhook.ConfigFile }),
	text("audit-webhook-mode", "batch", "when they are: batch, blocking, blocking-strict", func(c *config.Config) *string { return &c.Server.Audit.Webhook.Mode }),
	number("audit-webhook-batch-buffer-size", 10000, "how many events wait for it at most", func(c *config.Config) *int { return &c.Server.Audit.Webhook.BufferSize }),
	number("audit-webhook-batch-max-size", 400, "how many are posted at once", func(c *config.Config) *int { return &c.Server.Audit.Webhook.BatchSize }),
	text("audit-webhook-batch-max-wait", "30s", "how long one waits for others", func(c *config.Config) *string { return &c.Server.Audit.Webhook.BatchWait }),
	number("audit-webhook-batch-throttle-qps", 10, "how many batches are posted a second on average", func(c *config.Config) *int { return &c.Server.Audit.Webhook.ThrottleQPS }),
	number("audit-webhook-batch-throttle-burst", 15, "and how many at once", func(c *config.Config) *int { return &c.Server.Audit.Webhook.ThrottleBurst }),
	text("audit-webhook-initial-backoff", "10s", "time before the second of five tries", func(c *config.Config) *string { return &c.Server.Audit.Webhook.InitialBackoff }),
	toggle("listen-only", "serve the API at that address alone", func(c *config.Config) *bool { return &c.Server.ListenOnly }),
	text("tls-cert-file", "", "PEM file with the API's certificate, and those between it and its authority; read again when it changes (default: one of Lighter's own authority)", func(c *config.Config) *string { return &c.Server.Given.Cert }),
	text("tls-private-key-file", "", "PEM file with its key", func(c *config.Config) *string { return &c.Server.Given.Key }),
	text("client-ca-file", "", "PEM file with further authorities, whose certificates say who a client is", func(c *config.Config) *string { return &c.Server.Given.ClientCA }),
	text("service-account-issuer", "", "who issues service account tokens (default https://kubernetes.default.svc.<cluster-domain>)", func(c *config.Config) *string { return &c.Server.Given.Issuer }),
	text("service-account-signing-key-file", "", "PEM file with the key that signs them (default: a key of Lighter's own)", func(c *config.Config) *string { return &c.Server.Given.TokenKey }),
	list("service-account-key-file", "PEM files with keys or certificates that verify them (default: the key that signs)", func(c *config.Config) *[]string { return &c.Server.Given.TokenKeys }),
	text("authentication-config", "", "AuthenticationConfiguration file (apiserver.config.k8s.io/v1): OpenID Connect issuers whose tokens count, and what nobody may ask for; read again when it changes", func(c *config.Config) *string { return &c.Server.Authentication.File }),
	text("oidc-issuer-url", "", "https URL of an OpenID Connect issuer whose tokens count, without such a file", func(c *config.Config) *string { return &c.Server.Authentication.OIDC.Issuer }),
	text("oidc-client-id", "", "whom its tokens must be for", func(c *config.Config) *string { return &c.Server.Authentication.OIDC.ClientID }),
	text("oidc-username-claim", "sub", "claim that is the user's name", func(c *config.Config) *string { return &c.Server.Authentication.OIDC.UsernameClaim }),
	text("oidc-username-prefix", "", "what stands before it; -: nothing (default: the issuer's URL and #, before the claim email nothing)", func(c *config.Config) *string { return &c.Server.Authentication.OIDC.UsernamePrefix }),
	text("oidc-groups-claim", "", "claim that holds the user's groups, a string or a list", func(c *config.Config) *string { return &c.Server.Authentication.OIDC.GroupsClaim }),
	text("oidc-groups-prefix", "", "what stands before each of them", func(c *config.Config) *string { return &c.Server.Authentication.OIDC.GroupsPrefix }),
	pairs("oidc-required-claim", "claims that a token must have, claim=value", func(c *config.Config) *map[string]string { return &c.Server.Authentication.OIDC.RequiredClaims }),
	list("oidc-signing-algs", "algorithms that may sign tokens, of RFC 7518 (default RS256)", func(c *config.Config) *[]string { return &c.Server.Authentication.OIDC.SigningAlgs }),
	text("oidc-ca-file", "", "PEM file with the authorities of the issuer's server (default: those that this machine trusts)", func(c *config.Config) *string { return &c.Server.Authentication.OIDC.CA }),
	text("authentication-token-webhook-config-file", "", "kubeconfig of a server that says whose a token is", func(c *config.Config) *string { return &c.Server.Authentication.Webhook.ConfigFile }),
	text("authentication-token-webhook-version", "v1beta1", "version of the TokenReview that it is sent: v1 or v1beta1", func(c *config.Config) *string { return &c.Server.Authentication.Webhook.Version }),
	text("authentication-token-webhook-cache-ttl", "2m", "how long its answers count", func(c *config.Config) *string { return &c.Server.Authentication.Webhook.CacheTTL }),
	text("authorization-config", "", "AuthorizationConfiguration file (apiserver.config.k8s.io/v1): who judges requests, in which order; read again when it changes", func(c *config.Config) *string { return &c.Server.Authorization.File }),
	list("authorization-mode", "who judges requests, in this order, without such a file: Node, RBAC, Webhook, ABAC, AlwaysAllow, AlwaysDeny (default Node,RBAC)", func(c *config.Config) *[]string { return &c.Server.Authorization.Modes }),
	text("authorization-policy-file", "", "policies of the mode or type ABAC, one JSON object a line; read at the start alone", func(c *config.Config) *string { return &c.Server.Authorization.PolicyFile }),
	text("authorization-webhook-config-file", "", "kubeconfig of the server of the mode Webhook", func(c *config.Config) *string { return &c.Server.Authorization.Webhook.ConfigFile }),
	text("authorization-webhook-version", "v1beta1", "version of the SubjectAccessReview that it is sent: v1 or v1beta1", func(c *config.Config) *string { return &c.Server.Authorization.Webhook.Version }),
	text("authorization-webhook-cache-authorized-ttl", "5m", "how long it counts that it allowed", func(c *config.Config) *string { return &c.Server.Authorization.Webhook.AuthorizedTTL }),
	text("authorization-webhook-cache-unauthorized-ttl", "30s", "how long it counts that it did not", func(c *config.Config) *string { return &c.Server.Authorization.Webhook.UnauthorizedTTL }),
	pairs("runtime-config", "built-in versions and resources to serve or not, name=true|false: api/all, api/ga, api/beta, api/alpha, <group>/<version> (v1 is the core group's), <group>/<version>/<resource>", func(c *config.Config) *map[string]string { return &c.Server.RuntimeConfig }),
	list("disable-admission-plugins", "admission plugins to leave out, such as DenyServiceExternalIPs", func(c *config.Config) *[]string { return &c.Server.DisableAdmission }),
	list("disable", "parts to leave out: scheduler, controllers, cloud-controllers", func(c *config.Config) *[]string { return &c.Server.Disable }),
	text("pod-cidr", "10.244.0.0/16", "network of all pods; each node gets a /24 of it", func(c *config.Config) *string { return &c.Server.PodCIDR }),
	text("service-cidr", "10.96.0.0/12", "network of the Services' cluster addresses", func(c *config.Config) *string { return &c.Server.ServiceCIDR }),
	text("cluster-domain", "cluster.local", "domain of cluster DNS", func(c *config.Config) *string { return &c.Server.Domain }),
	text("node-ports", "30000-32767", "range of node ports, first-last", func(c *config.Config) *string { return &c.Server.NodePorts }),
	text("load-balancer-cidr", "", "network that LoadBalancer Services get addresses from (default: the nodes' own addresses)", func(c *config.Config) *string { return &c.Server.LoadBalancerCIDR }),
	text("authority-life", "87600h", "how long authorities are good that sign certificates, when they are made; each is followed by a new one at two thirds of it", func(c *config.Config) *string { return &c.Server.AuthorityLife }),
	text("certificate-life", "8760h", "how long certificates are good that this server signs, for its own parts and for nodes; they are renewed at two thirds of it", func(c *config.Config) *string { return &c.Server.CertificateLife }),
	number("max-requests-inflight", 400, "how many requests are served at a time, together with --max-mutating-requests-inflight; priority levels share the sum", func(c *config.Config) *int { return &c.Server.MaxRequests }),
	number("max-mutating-requests-inflight", 200, "see --max-requests-inflight", func(c *config.Config) *int { return &c.Server.MaxMutatingRequests }),
	number("node-monitor-grace-seconds", 40, "how many seconds a node may be silent before it is NotReady; at least 11", func(c *config.Config) *int { return &c.Server.NodeMonitorGrace }),
}

var nodeKnobs = []knob{
	text("node-name", "", "name of this node (default: the host's name)", func(c *config.Config) *string { return &c.Node.Name }),
	text("node-ip", "", "address of this node (default: that of the default route's interface)", func(c *config.Config) *string { return &c.Node.IP }),
	pairs("node-label", "labels of this node, key=value", func(c *config.Config) *map[string]string { return &c.Node.Labels }),
	number("max-pods", 110, "how many pods may run here", func(c *config.Config) *int { return &c.Node.MaxPods }),
	text("container-runtime-endpoint", "", "CRI socket to use instead of the carried containerd; its CNI configuration is then yours", func(c *config.Config) *string { return &c.Node.RuntimeEndpoint }),
	text("cni-conf-dir", "", "folder with one's own CNI configuration instead of Lighter's pod network", func(c *config.Config) *string { return &c.Node.CNIConfDir }),
	text("cgroup-parent", "", "cgroup above all pods (default /lighter/<node name>)", func(c *config.Config) *string { return &c.Node.CgroupParent }),
	text("bridge", "lighter0", "network interface that pods are attached to", func(c *config.Config) *string { return &c.Node.Bridge }),
	text("static-pods", "", "folder with manifests of pods that run without the API", func(c *config.Config) *string { return &c.Node.StaticPods }),
	number("kubelet-port", 10250, "port of the kubelet's own server", func(c *config.Config) *int { return &c.Node.KubeletPort }),
}

var joinKnobs = []knob{
	text("server", "", "URL of the cluster's API to join", func(c *config.Config) *string { return &c.Node.Server }),
	text("token", "", "token that lets this node join (see 'lighter token create')", func(c *config.Config) *string { return &c.Node.Token }),
}

// knobs adds flags to a command.
func (s *settings) knobs(cmd *cobra.Command, sets ...[]knob) {
	for _, set := range sets {
		for _, k := range set {
			k.add(cmd.Flags(), &s.Config)
		}
	}
}

// overlay copies what was given on the command line over what the file says.
func overlay(cmd *cobra.Command, to, from *config.Config) {
	given := func(flag string) bool { f := cmd.Flags().Lookup(flag); return f != nil && f.Changed }
	for _, set := range [][]knob{serverKnobs, nodeKnobs, joinKnobs} {
		for _, k := range set {
			if given(k.flag) {
				k.copy(to, from)
			}
		}
	}
	if given("data-dir") || to.DataDir == "" {
		to.DataDir = from.DataDir
	}
	if given("log") || to.Log == "" {
		to.Log = from.Log
	}
}
