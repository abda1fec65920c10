package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	tests := map[string]struct {
		change func(*Config)
		want   string // part of the error; "" is none
	}{
		"nothing given":               {func(*Config) {}, ""},
		"listen without a port":       {func(c *Config) { c.Server.Listen = "127.0.0.1" }, "host:port"},
		"a store nobody knows":        {func(c *Config) { c.Server.Store = "paper" }, "embedded, etcd or memory"},
		"etcd without endpoints":      {func(c *Config) { c.Server.Store = "etcd" }, "--etcd-endpoints"},
		"first of several servers":    {func(c *Config) { c.Server.ClusterInit = true }, ""},
		"the first one, on loopback":  {func(c *Config) { c.Server.ClusterInit, c.Server.Advertise = true, "127.0.0.1" }, "an address that the other servers reach"},
		"a further one, on loopback":  {func(c *Config) { c.Server.Join, c.Server.Advertise = "https://10.0.0.5:6443", "::1" }, "an address that the other servers reach"},
		"alone on loopback":           {func(c *Config) { c.Server.Advertise = "127.0.0.1" }, ""},
		"a further server":            {func(c *Config) { c.Server.Join = "https://10.0.0.5:6443" }, ""},
		"first and further":           {func(c *Config) { c.Server.ClusterInit, c.Server.Join = true, "https://10.0.0.5:6443" }, "either --cluster-init"},
		"joining what is no URL":      {func(c *Config) { c.Server.Join = "10.0.0.5:6443" }, "the URL of another server"},
		"several with another store":  {func(c *Config) { c.Server.ClusterInit, c.Server.Store = true, "embedded" }, "neither --store"},
		"several with another's etcd": {func(c *Config) { c.Server.ClusterInit, c.Server.Etcd.Endpoints = true, []string{"https://e:2379"} }, "neither --store"},
		"a port that is none":         {func(c *Config) { c.Server.ClusterInit, c.Server.EtcdPort = true, 65535 }, "etcd-port"},
		"a part that is none":         {func(c *Config) { c.Server.Disable = []string{"kubelet"} }, "scheduler, controllers"},
		"a network with host bits":    {func(c *Config) { c.Server.PodCIDR = "10.244.0.1/16" }, "pod-cidr"},
		"node ports the wrong way":    {func(c *Config) { c.Server.NodePorts = "32000-31000" }, "node-ports"},
		"an address that is none":     {func(c *Config) { c.Node.IP = "here" }, "node-ip"},
		"certificates for no time":    {func(c *Config) { c.Server.CertificateLife = "1s" }, "at least 5s"},
		"fewer than no requests":      {func(c *Config) { c.Server.MaxRequests = -1 }, "a number of requests"},
		"less patience than a report": {func(c *Config) { c.Server.NodeMonitorGrace = 5 }, "at least 11"},
		"a webhook beside roles": {func(c *Config) {
			c.Server.Authorization = Authorization{Modes: []string{"Node", "RBAC", "Webhook"}, Webhook: JudgeHook{ConfigFile: "f"}}
		}, ""},
		"a webhook without a server": {func(c *Config) { c.Server.Authorization.Modes = []string{"Webhook"} }, "authorization-webhook-config-file"},
		"a server without a webhook": {func(c *Config) { c.Server.Authorization.Webhook.ConfigFile = "f" }, "authorization-webhook-config-file"},
		"a mode that is none":        {func(c *Config) { c.Server.Authorization.Modes = []string{"PBAC"} }, "authorization-mode"},
		"a mode without its file":    {func(c *Config) { c.Server.Authorization.Modes = []string{"ABAC"} }, "authorization-policy-file"},
		"a mode twice":               {func(c *Config) { c.Server.Authorization.Modes = []string{"RBAC", "RBAC"} }, "authorization-mode"},
		"a file alone":               {func(c *Config) { c.Server.Authorization.File = "f" }, ""},
		"a file and modes":           {func(c *Config) { c.Server.Authorization = Authorization{File: "f", Modes: []string{"RBAC"}} }, "authorization-config"},
		"a version that is none":     {func(c *Config) { c.Server.Authentication.Webhook.Version = "v2" }, "authentication-token-webhook-version"},
		"a time that is none":        {func(c *Config) { c.Server.Authentication.Webhook.CacheTTL = "soon" }, "authentication-token-webhook-cache-ttl"},
		"an issuer by flags":         {func(c *Config) { c.Server.Authentication.OIDC = OIDC{Issuer: "https://i", ClientID: "us"} }, ""},
		"an issuer by flags and by file": {func(c *Config) {
			c.Server.Authentication = Authentication{File: "f", OIDC: OIDC{Issuer: "https://i", ClientID: "us"}}
		}, "authentication-config"},
		"an issuer for nobody":          {func(c *Config) { c.Server.Authentication.OIDC.Issuer = "https://i" }, "oidc-client-id"},
		"an issuer that is not https":   {func(c *Config) { c.Server.Authentication.OIDC = OIDC{Issuer: "http://i", ClientID: "us"} }, "oidc-issuer-url"},
		"groups of no issuer":           {func(c *Config) { c.Server.Authentication.OIDC.GroupsClaim = "groups" }, "oidc-issuer-url"},
		"policies":                      {func(c *Config) { c.Server.Authorization = Authorization{Modes: []string{"ABAC"}, PolicyFile: "f"} }, ""},
		"policies without their mode":   {func(c *Config) { c.Server.Authorization.PolicyFile = "f" }, "authorization-policy-file"},
		"a file, which has policies":    {func(c *Config) { c.Server.Authorization = Authorization{File: "f", PolicyFile: "p"} }, ""},
		"everything always":             {func(c *Config) { c.Server.Authorization.Modes = []string{"AlwaysAllow"} }, ""},
		"authorities not twice as long": {func(c *Config) { c.Server.AuthorityLife = "9000h" }, "authority-life"},
		"a level that is none":          {func(c *Config) { c.Log = "loud" }, "debug, info"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var c Config
			tt.change(&c)
			err := c.Complete()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if _, err := Load(path, false); err != nil {
		t.Errorf("no file is no error unless it was named: %v", err)
	}
	if _, err := Load(path, true); err == nil {
		t.Error("a file that was named must be there")
	}
	if err := os.WriteFile(path, []byte("server:\n  listen: 0.0.0.0:7443\n  lissten: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, true); err == nil || !strings.Contains(err.Error(), "lissten") {
		t.Errorf("an unknown key is named: %v", err)
	}
	if err := os.WriteFile(path, []byte("server:\n  listen: 0.0.0.0:7443\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path, true); err != nil || c.Server.Listen != "0.0.0.0:7443" {
		t.Errorf("got %q, %v", c.Server.Listen, err)
	}
}
