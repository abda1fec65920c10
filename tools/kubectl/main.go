// Command kubectl is the kubectl that `lighter kubectl` runs: k8s.io/kubectl as published, with
// nothing added. It is a program of its own because what the main program links is paid for at
// every start.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // the sign-in methods a kubeconfig may name
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err) // prints it as kubectl does and exits with its code
	}
	os.Exit(0)
}
