// Package config is the one configuration of a Lighter process: every knob, its
// default, its unit and its check. Flags set it, a file (--config) may set it before them;
// cli and role alone read it.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Config is all that can be set. The zero value of a field means its default.
type Config struct {
	DataDir string `json:"dataDir,omitempty"` // everything Lighter keeps; default /var/lib/lighter for root
	// Log is debug, info, warn or error; default info.
	Log string `json:"log,omitempty"`

	Server Server `json:"server,omitempty"`
	Node   Node   `json:"node,omitempty"`
}

// Server is what a control plane needs to know.
type Server struct {
	// Listen is where the API is served, host:port; default 127.0.0.1:6443 and the node's address.
	Listen string `json:"listen,omitempty"`
	// Advertise is the address by which nodes and pods reach the API; default: the node's address.
	Advertise string   `json:"advertise,omitempty"`
	Names     []string `json:"names,omitempty"` // further names and addresses in the API's certificate
	// Store is embedded, etcd or memory (which forgets all at the end).
	Store string `json:"store,omitempty"`
	// ClusterInit makes this the first of several servers: the store is an etcd member that Lighter runs. Join makes it
	// a further one: the URL of a server that is there, with a Token for servers the first time.
	ClusterInit bool   `json:"clusterInit,omitempty"`
	Join        string `json:"join,omitempty"`
	Token       string `json:"token,omitempty"`
	// EtcdPort is where that member serves clients, on loopback and the node's address; its peers use the next one. Default 2379.
	EtcdPort int `json:"etcdPort,omitempty"`

	Etcd    Etcd     `json:"etcd,omitempty"`
	Disable []string `json:"disable,omitempty"` // parts to leave out: scheduler, controllers, cloud-controllers
	// RuntimeConfig says which built-in versions and resources are served: "api/beta": "true", "batch/v1/cronjobs": "false".
	RuntimeConfig map[string]string `json:"runtimeConfig,omitempty"`
	// DisableAdmission leaves admission plugins out, by Kubernetes' names for them.
	DisableAdmission []string `json:"disableAdmissionPlugins,omitempty"`

	PodCIDR     string `json:"podCIDR,omitempty"`     // of all nodes; default 10.244.0.0/16
	ServiceCIDR string `json:"serviceCIDR,omitempty"` // default 10.96.0.0/12
	Domain      string `json:"domain,omitempty"`      // of cluster DNS; default cluster.local
	// NodePorts is the range of node ports, "first-last"; default 30000-32767.
	NodePorts string `json:"nodePorts,omitempty"`
	// LoadBalancerCIDR is where the local cloud takes addresses of LoadBalancer Services from; default: nodes' own addresses.
	LoadBalancerCIDR string  `json:"loadBalancerCIDR,omitempty"`
	Encrypt          Encrypt `json:"encrypt,omitempty"`
	Backup           Backup  `json:"backup,omitempty"`
	Audit            Audit   `json:"audit,omitempty"`

	// ListenOnly keeps the API from being served at any address but Listen's.
	ListenOnly bool  `json:"listenOnly,omitempty"`
	Given      Given `json:"given,omitempty"`

	Authentication Authentication `json:"authentication,omitempty"`
	Authorization  Authorization  `json:"authorization,omitempty"`
	// CertificateLife is how long certificates are good that this server signs, of its own parts and of nodes; default 8760h, a year. They
	// are renewed at two thirds of it.
	CertificateLife string `json:"certificateLife,omitempty"`
	// AuthorityLife is how long authorities are good that sign certificates; default 87600h, ten years. They are followed by new ones
	// at two thirds of it.
	AuthorityLife string `json:"authorityLife,omitempty"`
	// NodeMonitorGrace is how many seconds a node may be silent before it is NotReady; default 40.
	NodeMonitorGrace int `json:"nodeMonitorGraceSeconds,omitempty"`
	// MaxRequests and MaxMutatingRequests are together the seats that priority and fairness shares out; default 400 and 200.
	// Source: kube-apiserver.
	MaxRequests         int `json:"maxRequestsInFlight,omitempty"`
	MaxMutatingRequests int `json:"maxMutatingRequestsInFlight,omitempty"`
}

// Encrypt is what is encrypted in the cluster store.
type Encrypt struct {
	// ProviderConfig is upstream's EncryptionConfiguration file; Resources and a key of our own count for nothing beside it.
	ProviderConfig string `json:"providerConfig,omitempty"`
	// Resources are encrypted with a key that is made at the first start: "secrets", "deployments.apps", "*.apps", "*.*"; "none" for
	// nothing. Default: secrets, where Lighter itself keeps the store; nothing on an external etcd and in memory.
	Resources []string `json:"resources,omitempty"`
}

// Backup is when the cluster store is saved by itself, and where to.
type Backup struct {
	// Every is the time between two backups, such as 6h; 0s: never. Default: 6h where Lighter itself keeps the store.
	Every string `json:"every,omitempty"`
	Keep  int    `json:"keep,omitempty"` // how many of these stay; default 5
	// To is a folder, or s3://bucket/prefix; default <data>/server/backups.
	To string `json:"to,omitempty"`
	// PassphraseFile holds a passphrase, behind which the cluster's authority and keys are in the backups too.
	PassphraseFile string `json:"passphraseFile,omitempty"`
	S3             S3     `json:"s3,omitempty"`
}

// S3 is a service that speaks S3. Its keys come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN).
type S3 struct {
	Endpoint string `json:"endpoint,omitempty"` // URL; default: AWS_ENDPOINT_URL, or Amazon's
	Region   string `json:"region,omitempty"`   // default: AWS_REGION, or us-east-1
}

// Audit is what of the requests is written down, and where. Names and meanings are kube-apiserver's; what differs: there is a policy and a
// log without any of it, and a number of -1 is no limit, where kube-apiserver has 0.
type Audit struct {
	PolicyFile string   `json:"policyFile,omitempty"` // audit.k8s.io/v1; default: the level Metadata but for what says nothing
	Log        AuditLog `json:"log,omitempty"`
	Webhook    AuditTo  `json:"webhook,omitempty"`
}

// AuditLog is the file that it is written to.
type AuditLog struct {
	Path      string `json:"path,omitempty"`      // "-": standard output; "none": nowhere; default <data>/server/audit/audit.log
	Mode      string `json:"mode,omitempty"`      // batch (default), blocking or blocking-strict
	MaxAge    int    `json:"maxAge,omitempty"`    // days that full files stay; default 30
	MaxBackup int    `json:"maxBackup,omitempty"` // how many full files stay; default 5
	MaxSize   int    `json:"maxSize,omitempty"`   // megabytes of a full file; default 100
	Format    string `json:"format,omitempty"`    // json
}

// AuditTo is a server that it is sent to.
type AuditTo struct {
	ConfigFile     string `json:"configFile,omitempty"` // a kubeconfig whose server is the URL to post to
	Mode           string `json:"mode,omitempty"`       // batch (default), blocking or blocking-strict
	BufferSize     int    `json:"batchBufferSize,omitempty"`
	BatchSize      int    `json:"batchMaxSize,omitempty"`
	BatchWait      string `json:"batchMaxWait,omitempty"`
	ThrottleQPS    int    `json:"batchThrottleQPS,omitempty"`
	ThrottleBurst  int    `json:"batchThrottleBurst,omitempty"`
	InitialBackoff string `json:"initialBackoff,omitempty"`
}

// Given are certificates and keys that somebody else looks after, in PEM files. Names and meanings are kube-apiserver's.
type Given struct {
	Cert     string `json:"tlsCertFile,omitempty"` // of the API, read again when it changes; default: our own authority's
	Key      string `json:"tlsPrivateKeyFile,omitempty"`
	ClientCA string `json:"clientCAFile,omitempty"` // further authorities of clients' certificates
	// Issuer is who issues service account tokens; default https://kubernetes.default.svc.<domain>.
	Issuer    string   `json:"serviceAccountIssuer,omitempty"`
	TokenKey  string   `json:"serviceAccountSigningKeyFile,omitempty"` // signs them; default: a key of our own
	TokenKeys []string `json:"serviceAccountKeyFiles,omitempty"`       // verify them; default: TokenKey
}

// Authentication is who may say who asks, beside the cluster itself.
type Authentication struct {
	// File is an AuthenticationConfiguration (apiserver.config.k8s.io): issuers of tokens, and what nobody may ask for. It is read again when
	// it changes.
	File    string `json:"configFile,omitempty"`
	OIDC    OIDC   `json:"oidc,omitempty"`
	Webhook Hook   `json:"webhook,omitempty"`
}

// OIDC is one issuer of tokens, without such a file. Names and meanings are those of kube-apiserver's flags.
type OIDC struct {
	Issuer         string            `json:"issuerURL,omitempty"`
	ClientID       string            `json:"clientID,omitempty"`
	UsernameClaim  string            `json:"usernameClaim,omitempty"`  // default sub
	UsernamePrefix string            `json:"usernamePrefix,omitempty"` // default the issuer's URL and #, of the claim email none; "-": none
	GroupsClaim    string            `json:"groupsClaim,omitempty"`
	GroupsPrefix   string            `json:"groupsPrefix,omitempty"`
	RequiredClaims map[string]string `json:"requiredClaims,omitempty"`
	SigningAlgs    []string          `json:"signingAlgs,omitempty"` // default RS256
	CA             string            `json:"caFile,omitempty"`      // PEM; default: those that the machine trusts
}

// Hook is a server that says whose a token is.
type Hook struct {
	ConfigFile string `json:"configFile,omitempty"` // kubeconfig; "": none
	Version    string `json:"version,omitempty"`    // of TokenReview: v1beta1 (default, as upstream) or v1
	CacheTTL   string `json:"cacheTTL,omitempty"`   // how long an answer counts; default 2m
}

// Authorization is who judges requests, in which order.
type Authorization struct {
	// File is an AuthorizationConfiguration (apiserver.config.k8s.io), read again when it changes. What follows counts without one only.
	File    string    `json:"configFile,omitempty"`
	Modes   []string  `json:"modes,omitempty"` // Node, RBAC, Webhook, ABAC, AlwaysAllow, AlwaysDeny; default Node, RBAC
	Webhook JudgeHook `json:"webhook,omitempty"`
	// PolicyFile has the policies of the mode or type ABAC, one JSON object a line; it is read at the start.
	PolicyFile string `json:"policyFile,omitempty"`
}

// JudgeHook is the server of the mode Webhook.
type JudgeHook struct {
	ConfigFile      string `json:"configFile,omitempty"` // kubeconfig
	Version         string `json:"version,omitempty"`    // of SubjectAccessReview: v1beta1 (default, as upstream) or v1
	AuthorizedTTL   string `json:"cacheAuthorizedTTL,omitempty"`
	UnauthorizedTTL string `json:"cacheUnauthorizedTTL,omitempty"`
}

// Interval is the time between two backups; 0: none.
func (s *Server) Interval() time.Duration {
	switch {
	case s.Backup.Every != "":
		d, _ := time.ParseDuration(s.Backup.Every) // checked
		return d
	case s.OwnStore():
		return 6 * time.Hour
	}
	return 0
}

// LeafLife is how long certificates are good that this server signs; 0: as long as they are by default.
func (s *Server) LeafLife() time.Duration {
	d, _ := time.ParseDuration(s.CertificateLife) // checked
	return d
}

// OwnStore tells whether the store is on disks that Lighter itself looks after.
func (s *Server) OwnStore() bool { return s.Store == "embedded" || s.ClusterInit || s.Join != "" }

// Encrypted are the resources that are encrypted with a key of our own; none where the user's file says it.
func (s *Server) Encrypted() []string {
	switch {
	case s.Encrypt.ProviderConfig != "", slices.Equal(s.Encrypt.Resources, []string{"none"}):
		return nil
	case len(s.Encrypt.Resources) == 0 && s.OwnStore():
		return []string{"secrets"}
	}
	return s.Encrypt.Resources
}

// Etcd is an external cluster store.
type Etcd struct {
	Endpoints []string `json:"endpoints,omitempty"`
	CA        string   `json:"ca,omitempty"` // PEM files
	Cert      string   `json:"cert,omitempty"`
	Key       string   `json:"key,omitempty"`
}

// Node is what a node agent needs to know.
type Node struct {
	Name    string            `json:"name,omitempty"` // default: the host's name, in lower case
	IP      string            `json:"ip,omitempty"`   // default: that of the default route's interface
	Labels  map[string]string `json:"labels,omitempty"`
	MaxPods int               `json:"maxPods,omitempty"` // default 110
	// Server and Token join a cluster: the API's URL and a bootstrap token.
	Server string `json:"server,omitempty"`
	Token  string `json:"token,omitempty"`
	// RuntimeEndpoint is a CRI socket to use instead of the carried containerd.
	RuntimeEndpoint string `json:"runtimeEndpoint,omitempty"`
	CNIConfDir      string `json:"cniConfDir,omitempty"`   // one's own pod network instead of Lighter's
	CgroupParent    string `json:"cgroupParent,omitempty"` // of all pods; default /lighter/<node name>
	Bridge          string `json:"bridge,omitempty"`       // of the pod network; default lighter0
	StaticPods      string `json:"staticPods,omitempty"`   // folder of pod manifests that run without the API
	KubeletPort     int    `json:"kubeletPort,omitempty"`  // default 10250
}

// Load reads a file; one that is not there is an empty Config unless it must be. Unknown keys are errors.
func Load(path string, must bool) (Config, error) {
	var c Config
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !must {
		return c, nil
	}
	if err == nil {
		err = yaml.UnmarshalStrict(data, &c)
	}
	if err != nil {
		return c, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return c, nil
}

// DefaultDataDir is /var/lib/lighter for root, else a folder of the user's.
func DefaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/lighter"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "lighter")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("lighter-%d", os.Geteuid()))
	}
	return filepath.Join(home, ".local", "share", "lighter")
}

func fill[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

// Complete fills in defaults and checks what is there.
func (c *Config) Complete() error {
	fill(&c.DataDir, DefaultDataDir())
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", c.DataDir, err)
	}
	c.DataDir = dir
	fill(&c.Log, "info")
	s := &c.Server
	fill(&s.Listen, "127.0.0.1:6443")
	if s.ClusterInit || s.Join != "" {
		fill(&s.Store, "etcd")
	}
	fill(&s.Store, "embedded")
	fill(&s.EtcdPort, 2379)
	fill(&s.PodCIDR, "10.244.0.0/16")
	fill(&s.ServiceCIDR, "10.96.0.0/12")
	fill(&s.Domain, "cluster.local")
	fill(&s.NodePorts, "30000-32767")
	fill(&s.NodeMonitorGrace, 40)
	fill(&s.MaxRequests, 400)
	fill(&s.MaxMutatingRequests, 200)
	fill(&s.CertificateLife, "8760h")
	fill(&s.AuthorityLife, "87600h")
	fill(&s.Authentication.OIDC.UsernameClaim, "sub")
	if len(s.Authentication.OIDC.SigningAlgs) == 0 {
		s.Authentication.OIDC.SigningAlgs = []string{"RS256"}
	}
	fill(&s.Backup.Keep, 5)
	fill(&s.Backup.To, filepath.Join(c.DataDir, "server", "backups"))
	fill(&s.Audit.Log.Path, filepath.Join(c.DataDir, "server", "audit", "audit.log"))
	fill(&s.Audit.Log.Mode, "batch")
	fill(&s.Audit.Log.MaxAge, 30)
	fill(&s.Audit.Log.MaxBackup, 5)
	fill(&s.Audit.Log.MaxSize, 100)
	fill(&s.Audit.Log.Format, "json")
	fill(&s.Audit.Webhook.Mode, "batch")
	fill(&s.Audit.Webhook.BufferSize, 10000)
	fill(&s.Audit.Webhook.BatchSize, 400)
	fill(&s.Audit.Webhook.BatchWait, "30s")
	fill(&s.Audit.Webhook.ThrottleQPS, 10)
	fill(&s.Audit.Webhook.ThrottleBurst, 15)
	fill(&s.Audit.Webhook.InitialBackoff, "10s")
	fill(&s.Authentication.Webhook.Version, "v1beta1")
	fill(&s.Authentication.Webhook.CacheTTL, "2m")
	fill(&s.Authorization.Webhook.Version, "v1beta1")
	fill(&s.Authorization.Webhook.AuthorizedTTL, "5m")
	fill(&s.Authorization.Webhook.UnauthorizedTTL, "30s")
	if len(s.Authorization.Modes) == 0 && s.Authorization.File == "" {
		s.Authorization.Modes = []string{"Node", "RBAC"}
	}
	n := &c.Node
	if n.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name of this host: %w; give --node-name", err)
		}
		n.Name = strings.ToLower(host)
	}
	fill(&n.MaxPods, 110)
	fill(&n.Bridge, "lighter0")
	fill(&n.KubeletPort, 10250)
	fill(&n.CgroupParent, "/lighter/"+n.Name)
	return c.check()
}

func (c *Config) check() error {
	var errs []error
	bad := func(knob, value, want string) {
		errs = append(errs, fmt.Errorf("%s %q: want %s", knob, value, want))
	}
	if _, port, err := net.SplitHostPort(c.Server.Listen); err != nil || port == "" {
		bad("listen", c.Server.Listen, "host:port, such as 127.0.0.1:6443")
	}
	if g := c.Server.Given; (g.Cert == "") != (g.Key == "") {
		bad("tls-cert-file", g.Cert, "--tls-private-key-file beside it, and not the one without the other")
	}
	if g := c.Server.Given; g.TokenKey == "" && len(g.TokenKeys) > 0 {
		bad("service-account-key-file", strings.Join(g.TokenKeys, ","), "--service-account-signing-key-file beside it")
	}
	if !slices.Contains([]string{"embedded", "etcd", "memory"}, c.Server.Store) {
		bad("store", c.Server.Store, "embedded, etcd or memory")
	}
	member := c.Server.ClusterInit || c.Server.Join != ""
	if c.Server.Store == "etcd" && len(c.Server.Etcd.Endpoints) == 0 && !member {
		bad("store", c.Server.Store, "--etcd-endpoints beside it, or --cluster-init for an etcd that Lighter runs")
	}
	if member && (c.Server.Store != "etcd" || len(c.Server.Etcd.Endpoints) > 0) {
		bad("store", c.Server.Store, "neither --store nor --etcd-endpoints with --cluster-init or --join: the store is then the servers' own etcd")
	}
	if a, err := netip.ParseAddr(c.Server.Advertise); member && err == nil && a.IsLoopback() {
		bad("advertise", c.Server.Advertise, "an address that the other servers reach: neither theirs nor the Service kubernetes can name a loopback one (leave --cluster-init out for one machine alone)")
	}
	if c.Server.ClusterInit && c.Server.Join != "" {
		bad("join", c.Server.Join, "either --cluster-init, on the first server, or --join, on the others")
	}
	if u, err := url.Parse(c.Server.Join); c.Server.Join != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		bad("join", c.Server.Join, "the URL of another server, such as https://10.0.0.5:6443")
	}
	if p := c.Server.EtcdPort; p < 1 || p > 65534 {
		bad("etcd-port", fmt.Sprint(p), "a port from 1 to 65534")
	}
	if r := c.Server.Encrypt.Resources; len(r) > 1 && slices.Contains(r, "none") {
		bad("encrypt-resources", strings.Join(r, ","), "none, or resources")
	}
	if e := c.Server.Encrypt; e.ProviderConfig != "" && len(e.Resources) > 0 {
		bad("encrypt-resources", strings.Join(e.Resources, ","), "either these or --encryption-provider-config, whose file has them")
	}
	if e := c.Server.Backup.Every; e != "" {
		if d, err := time.ParseDuration(e); err != nil || d != 0 && d < time.Minute {
			bad("backup-every", e, "a time of at least 1m, such as 6h, or 0s for never")
		}
	}
	for knob, mode := range map[string]string{"audit-log-mode": c.Server.Audit.Log.Mode, "audit-webhook-mode": c.Server.Audit.Webhook.Mode} {
		if !slices.Contains([]string{"batch", "blocking", "blocking-strict"}, mode) {
			bad(knob, mode, "batch, blocking or blocking-strict")
		}
	}
	if f := c.Server.Audit.Log.Format; f != "json" {
		bad("audit-log-format", f, "json")
	}
	hook := c.Server.Audit.Webhook
	for knob, d := range map[string]string{"audit-webhook-batch-max-wait": hook.BatchWait, "audit-webhook-initial-backoff": hook.InitialBackoff} {
		if d, err := time.ParseDuration(d); err != nil || d <= 0 {
			bad(knob, fmt.Sprint(d), "a time, such as 10s")
		}
	}
	for knob, n := range map[string]int{"audit-webhook-batch-buffer-size": hook.BufferSize, "audit-webhook-batch-max-size": hook.BatchSize,
		"audit-webhook-batch-throttle-qps": hook.ThrottleQPS, "audit-webhook-batch-throttle-burst": hook.ThrottleBurst} {
		if n < 1 {
			bad(knob, fmt.Sprint(n), "at least 1")
		}
	}
	errs = append(errs, c.Server.checkAccess()...)
	if c.Server.Backup.Keep < 1 {
		bad("backup-keep", fmt.Sprint(c.Server.Backup.Keep), "at least 1")
	}
	for _, d := range c.Server.Disable {
		if !slices.Contains([]string{"scheduler", "controllers", "cloud-controllers"}, d) {
			bad("disable", d, "scheduler, controllers or cloud-controllers")
		}
	}
	for knob, value := range map[string]string{"pod-cidr": c.Server.PodCIDR, "service-cidr": c.Server.ServiceCIDR} {
		if p, err := netip.ParsePrefix(value); err != nil || p != p.Masked() {
			bad(knob, value, "a network, such as 10.244.0.0/16")
		}
	}
	if p := c.Server.LoadBalancerCIDR; p != "" {
		if _, err := netip.ParsePrefix(p); err != nil {
			bad("load-balancer-cidr", p, "a network, such as 192.168.7.0/24")
		}
	}
	if d, err := time.ParseDuration(c.Server.CertificateLife); err != nil || d < 5*time.Second {
		bad("certificate-life", c.Server.CertificateLife, "a time of at least 5s, such as 8760h for a year")
	} else if a, err := time.ParseDuration(c.Server.AuthorityLife); err != nil || a < 2*d {
		bad("authority-life", c.Server.AuthorityLife, "a time of at least twice --certificate-life, such as 87600h for ten years")
	}
	for flag, n := range map[string]int{"max-requests-inflight": c.Server.MaxRequests, "max-mutating-requests-inflight": c.Server.MaxMutatingRequests} {
		if n < 0 {
			bad(flag, fmt.Sprint(n), "a number of requests")
		}
	}
	if c.Server.NodeMonitorGrace < 11 {
		bad("node-monitor-grace-seconds", fmt.Sprint(c.Server.NodeMonitorGrace), "at least 11: a node reports every 10 seconds")
	}
	if c.Node.IP != "" {
		if _, err := netip.ParseAddr(c.Node.IP); err != nil {
			bad("node-ip", c.Node.IP, "an IP address")
		}
	}
	if _, _, err := c.Ports(); err != nil {
		bad("node-ports", c.Server.NodePorts, "first-last, such as 30000-32767")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log) {
		bad("log", c.Log, "debug, info, warn or error")
	}
	return errors.Join(errs...)
}

// Ports is the range of node ports: the first, and how many.
func (c *Config) Ports() (first, n int, err error) {
	var last int
	if _, err = fmt.Sscanf(c.Server.NodePorts, "%d-%d", &first, &last); err == nil && (first < 1 || last < first || last > 65535) {
		err = fmt.Errorf("node ports %q", c.Server.NodePorts)
	}
	return first, last - first + 1, err
}
