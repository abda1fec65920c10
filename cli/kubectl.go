package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/role"
	"github.com/lighter-k8s/lighter/runtime"
)

func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [args]",
		Short: "Run kubectl, built in, against this machine's cluster",
		Long: `Run kubectl. It uses $KUBECONFIG or ~/.kube/config as always; where neither is there, the
administrator's kubeconfig of this machine's cluster. When the server of the current context does not answer, and the
kubeconfig has contexts for further servers of the cluster, it asks one that does.`,
		Example:            "  lighter kubectl get pods -A",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if code := kubectl(args); code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}

// kubectl becomes kubectl; it returns only when that cannot be.
func kubectl(args []string) int {
	path, err := runtime.Kubectl(programs())
	if err != nil {
		if path, err = exec.LookPath("kubectl"); err != nil {
			fmt.Fprintln(os.Stderr, "lighter: this build carries no kubectl, and none is on PATH")
			return 1
		}
	}
	env := os.Environ()
	file := os.Getenv("KUBECONFIG")
	if file == "" {
		home, _ := os.UserHomeDir()
		file = filepath.Join(home, ".kube", "config")
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			file = role.KubeconfigPath(config.DefaultDataDir())
			env = append(env, "KUBECONFIG="+file)
		}
	}
	if context := otherContext(file, args); context != "" {
		args = append([]string{"--context", context}, args...)
	}
	err = syscall.Exec(path, append([]string{"kubectl"}, args...), env)
	fmt.Fprintf(os.Stderr, "lighter: run %s: %v\n", path, err)
	return 1
}

// otherContext is the context of a further server of the same cluster when the current one's does not answer, or says
// that it is not ready; "": there is no reason for another one, or the user chose.
func otherContext(kubeconfig string, args []string) string {
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		if a == "--" {
			break
		}
		if strings.HasPrefix(a, "-s") || slices.Contains([]string{"--context", "--cluster", "--server", "--kubeconfig", "config"}, name) {
			return ""
		}
	}
	servers, err := pki.KubeconfigServers(kubeconfig)
	if err != nil || len(servers) < 2 {
		return "" // kubectl says what is wrong
	}
	for n, s := range servers {
		if ready(s) {
			if n == 0 {
				return ""
			}
			fmt.Fprintf(os.Stderr, "lighter: %s does not answer: asking %s\n", servers[0].URL, s.URL)
			return s.Context
		}
	}
	return ""
}

// ready asks a server whether it is; one that cannot be reached takes a second.
func ready(s pki.KubeconfigServer) bool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA)
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}
	resp, err := c.Get(s.URL + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// etcd becomes etcd; it returns only when that cannot be.
func etcd(args []string) int {
	path, err := runtime.EtcdProgram(programs())
	if err == nil && sameFile(path) {
		err = errors.New("the etcd on PATH is this link, and this build carries none")
	}
	if err == nil {
		err = syscall.Exec(path, append([]string{"etcd"}, args...), os.Environ())
	}
	fmt.Fprintf(os.Stderr, "lighter: run etcd: %v\n", err)
	return 1
}

// sameFile reports whether a path is this very program.
func sameFile(path string) bool {
	self, err := os.Executable()
	if err != nil {
		return false
	}
	a, err := os.Stat(self)
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// programs is where this user's carried programs are unpacked.
func programs() string {
	dir := config.DefaultDataDir()
	if cache, err := os.UserCacheDir(); err == nil && !writable(dir) {
		dir = filepath.Join(cache, "lighter")
	}
	return filepath.Join(dir, "programs")
}

func writable(dir string) bool {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false
	}
	f, err := os.CreateTemp(dir, ".probe")
	if err != nil {
		return false
	}
	_ = f.Close()
	return os.Remove(f.Name()) == nil
}
