package cli

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/remote"
	"github.com/lighter-k8s/lighter/role"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Tokens that let nodes and servers join: create, list, delete"}
	cmd.AddCommand(tokenCreate(), tokenList(), tokenDelete())
	return cmd
}

// admin is a client with the administrator's rights on the cluster of a data directory.
func (s *settings) admin(cmd *cobra.Command) (client.Client, error) {
	_, log, err := s.load(cmd)
	if err != nil {
		return nil, err
	}
	return remote.New(cmd.Context(), role.KubeconfigPath(s.DataDir), log)
}

// newToken makes a token of a group.
func (s *settings) newToken(cmd *cobra.Command, group, why string, ttl time.Duration) (string, error) {
	c, err := s.admin(cmd)
	if err != nil {
		return "", err
	}
	id, secret := random(6), random(16)
	data := map[string][]byte{"token-id": []byte(id), "token-secret": []byte(secret), "usage-bootstrap-authentication": []byte("true"),
		"auth-extra-groups": []byte(group), "description": []byte(why)}
	if ttl > 0 {
		data["expiration"] = []byte(time.Now().Add(ttl).UTC().Format(time.RFC3339))
	}
	_, err = client.Secrets.Create(cmd.Context(), c, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken, Data: data})
	if err != nil {
		return "", err
	}
	pin, err := role.Fingerprint(s.DataDir)
	return fmt.Sprintf("%s.%s:%s", id, secret, strings.TrimPrefix(pin, "sha256:")), err
}

func tokenCreate() *cobra.Command {
	var s settings
	var ttl time.Duration
	var server bool
	cmd := &cobra.Command{
		Use: "create", Short: "Make a token that lets nodes (or servers) join, and print it",
		Long: `Make a token and print it. It names the cluster too, so that who joins cannot be led to another one.
A token for servers gives its bearer the keys of the whole cluster: handle it like a root password.`,
		Example: "  lighter agent --server https://10.0.0.5:6443 --token \"$(lighter token create)\"\n  lighter server --join https://10.0.0.5:6443 --token \"$(lighter token create --server)\"",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			group, why := role.JoinGroup, "made by lighter token create"
			if server {
				group, why = role.JoinServersGroup, why+" --server"
			}
			if server && !cmd.Flags().Changed("ttl") {
				ttl = time.Hour
			}
			token, err := s.newToken(cmd, group, why, ttl)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	s.common(cmd)
	cmd.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long the token is good, an hour if it is for servers; 0: for ever")
	cmd.Flags().BoolVar(&server, "server", false, "for a server that joins, not for a node")
	return cmd
}

func random(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			panic(err) // the system has no randomness: nothing is safe
		}
		b[i] = letters[k.Int64()]
	}
	return string(b)
}

func tokenList() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "list", Short: "List the tokens, without their secrets", Example: "  lighter token list", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.admin(cmd)
			if err != nil {
				return err
			}
			all, err := client.Secrets.List(cmd.Context(), c, metav1.NamespaceSystem, client.Selection{Fields: "type=" + string(corev1.SecretTypeBootstrapToken)})
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tEXPIRES\tDESCRIPTION")
			for _, secret := range all {
				expires := string(secret.Data["expiration"])
				if expires == "" {
					expires = "never"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\n", secret.Data["token-id"], expires, secret.Data["description"])
			}
			return t.Flush()
		},
	}
	s.common(cmd)
	return cmd
}

func tokenDelete() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "delete ID...", Short: "Delete tokens; nodes that have joined stay", Example: "  lighter token delete abc123", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := s.admin(cmd)
			if err != nil {
				return err
			}
			for _, id := range ids {
				id, _, _ = strings.Cut(id, ".")
				if err := client.Secrets.Delete(cmd.Context(), c, metav1.NamespaceSystem, "bootstrap-token-"+id, metav1.DeleteOptions{}); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "deleted %s\n", id)
			}
			return nil
		},
	}
	s.common(cmd)
	return cmd
}
