package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
	"github.com/lighter-k8s/lighter/runtime"
)

func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [args]",
		Short: "Run kubectl, built in, against this machine's cluster",
		Long: `Run kubectl. It uses $KUBECONFIG or ~/.kube/config as always; where neither is there, the
administrator's kubeconfig of this machine's cluster.`,
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
	if os.Getenv("KUBECONFIG") == "" {
		home, _ := os.UserHomeDir()
		if _, err := os.Stat(filepath.Join(home, ".kube", "config")); errors.Is(err, os.ErrNotExist) {
			env = append(env, "KUBECONFIG="+role.KubeconfigPath(config.DefaultDataDir()))
		}
	}
	err = syscall.Exec(path, append([]string{"kubectl"}, args...), env)
	fmt.Fprintf(os.Stderr, "lighter: run %s: %v\n", path, err)
	return 1
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
