// Lighter is Kubernetes as one small binary: see README.md for what it does and
// docs/architecture.md for how.
package main

import (
	"os"

	"github.com/lighter-k8s/lighter/cli"
)

func main() { os.Exit(cli.Main(os.Args)) }
