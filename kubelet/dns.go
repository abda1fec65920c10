package kubelet

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Limits of resolv.conf that the kubelet keeps to. Source: "DNS for Services and Pods", DNS search domain list limits.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// dnsConfig is the pod's resolv.conf. host is the node's own, servers and domain the cluster's.
// limited lists what did not fit.
func dnsConfig(pod *corev1.Pod, servers []string, domain string, host *runtimev1.DNSConfig) (cfg *runtimev1.DNSConfig, limited []string) {
	cfg = &runtimev1.DNSConfig{}
	policy := pod.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	if (policy == corev1.DNSClusterFirst || policy == corev1.DNSClusterFirstWithHostNet || policy == "") && len(servers) == 0 {
		policy = corev1.DNSDefault
	}
	switch policy {
	case corev1.DNSNone:
	case corev1.DNSDefault:
		cfg.Servers, cfg.Searches, cfg.Options = slices.Clone(host.Servers), slices.Clone(host.Searches), slices.Clone(host.Options)
	default:
		cfg.Servers = slices.Clone(servers)
		if domain != "" {
			cfg.Searches = []string{pod.Namespace + ".svc." + domain, "svc." + domain, domain}
		}
		cfg.Searches = append(cfg.Searches, host.Searches...)
		cfg.Options = []string{"ndots:5"}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		cfg.Servers = append(cfg.Servers, c.Nameservers...)
		cfg.Searches = append(cfg.Searches, c.Searches...)
		for _, o := range c.Options {
			text := o.Name
			if o.Value != nil && *o.Value != "" {
				text += ":" + *o.Value
			}
			at := slices.IndexFunc(cfg.Options, func(have string) bool {
				name, _, _ := strings.Cut(have, ":")
				return name == o.Name
			})
			if at >= 0 {
				cfg.Options[at] = text
			} else {
				cfg.Options = append(cfg.Options, text)
			}
		}
	}
	cfg.Servers, cfg.Searches = unique(cfg.Servers), unique(cfg.Searches)
	if len(cfg.Servers) > maxNameservers {
		cfg.Servers = cfg.Servers[:maxNameservers]
		limited = append(limited, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(cfg.Servers, " "))
	}
	n := min(len(cfg.Searches), maxSearches)
	for len(strings.Join(cfg.Searches[:n], " ")) > maxSearchChars {
		n--
	}
	if n < len(cfg.Searches) {
		cfg.Searches = cfg.Searches[:n]
		limited = append(limited, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(cfg.Searches, " "))
	}
	return cfg, limited
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// parseResolvConf reads the node's resolv.conf; lines that it does not know are skipped.
func parseResolvConf(text string) *runtimev1.DNSConfig {
	cfg := &runtimev1.DNSConfig{}
	for _, line := range strings.Split(text, "\n") {
		w := strings.Fields(line)
		if len(w) == 0 || strings.HasPrefix(w[0], "#") || strings.HasPrefix(w[0], ";") {
			continue
		}
		switch w[0] {
		case "nameserver":
			if len(w) > 1 {
				cfg.Servers = append(cfg.Servers, w[1])
			}
		case "search":
			cfg.Searches = nil
			for _, s := range w[1:] {
				if s != "." {
					s = strings.TrimSuffix(s, ".")
				}
				cfg.Searches = append(cfg.Searches, s)
			}
		case "options":
			cfg.Options = append(cfg.Options, w[1:]...)
		}
	}
	return cfg
}

// hostname is the pod's own host name and domain name: the domain is "" without a subdomain.
// Source: "DNS for Services and Pods", pod's hostname and subdomain fields; KEP-4762.
func hostname(pod *corev1.Pod, clusterDomain string) (host, fqdn string, err error) {
	if o := pod.Spec.HostnameOverride; o != nil && *o != "" {
		return *o, "", nil
	}
	host = pod.Name
	if pod.Spec.Hostname != "" {
		host = pod.Spec.Hostname
	} else if len(host) > 63 {
		host = strings.TrimRight(host[:63], "-.")
	}
	if pod.Spec.Subdomain != "" {
		fqdn = fmt.Sprintf("%s.%s.%s.svc.%s", host, pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	if pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN && fqdn != "" {
		if len(fqdn) > 64 {
			return "", "", fmt.Errorf("Failed to construct FQDN from Pod hostname and cluster domain, FQDN %s is too long (64 characters is the max, %d characters requested)", fqdn, len(fqdn))
		}
		return fqdn, fqdn, nil
	}
	return host, fqdn, nil
}

// hostsFile is the pod's /etc/hosts. node is the node's own file, used on the host's network.
func hostsFile(pod *corev1.Pod, ips []string, host, fqdn, node string) string {
	var b strings.Builder
	if pod.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.WriteString(node)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		for _, ip := range ips {
			if fqdn != "" && fqdn != host {
				fmt.Fprintf(&b, "%s\t%s\t%s\n", ip, fqdn, host)
			} else {
				fmt.Fprintf(&b, "%s\t%s\n", ip, host)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			b.WriteString(a.IP + "\t" + strings.Join(a.Hostnames, "\t") + "\n")
		}
	}
	return b.String()
}
