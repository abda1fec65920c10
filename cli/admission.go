package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/client"
)

func admissionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "admission", Short: "Webhooks that stand in the cluster's way: bypass"}
	cmd.AddCommand(admissionBypass())
	return cmd
}

// bypassAnnotation is webhook.Bypass of the API server, which alone decides who may set it.
const bypassAnnotation = "admission.lighter-k8s.io/bypass-until"

func admissionBypass() *cobra.Command {
	var s settings
	var length time.Duration
	var end bool
	cmd := &cobra.Command{
		Use: "bypass CONFIGURATION", Short: "Let requests pass without a configuration's webhooks for a while",
		Long: `Let requests pass without the webhooks of a MutatingWebhookConfiguration or ValidatingWebhookConfiguration for a while, at most a day:
when a webhook that fails closed refuses the very pods that it needs to answer. It is an annotation, ` + bypassAnnotation + `,
which only who has the verb "bypass" on the configuration may set (cluster-admin has). An Event on the configuration and the server's log say who did.`,
		Example: "  lighter admission bypass policy-webhook --for 10m\n  lighter admission bypass policy-webhook --end", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if length <= 0 && !end {
				return errors.New("--for: want a time above zero, such as 10m")
			}
			c, err := s.admin(cmd)
			if err != nil {
				return err
			}
			var value any // nil takes the annotation away
			until := time.Now().Add(length).UTC().Truncate(time.Second)
			if !end {
				value = until.Format(time.RFC3339)
			}
			patch := map[string]any{"metadata": map[string]any{"annotations": map[string]any{bypassAnnotation: value}}}
			_, first := client.MutatingWebhookConfigurations.Merge(cmd.Context(), c, "", args[0], "", patch)
			_, second := client.ValidatingWebhookConfigurations.Merge(cmd.Context(), c, "", args[0], "", patch)
			done := 0
			for kind, err := range map[string]error{"MutatingWebhookConfiguration": first, "ValidatingWebhookConfiguration": second} {
				switch {
				case apierrors.IsNotFound(err):
					continue
				case err != nil:
					return fmt.Errorf("bypass %s %s: %w", kind, args[0], err)
				case end:
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "the webhooks of %s %s are asked again\n", kind, args[0])
				default:
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "the webhooks of %s %s are not asked until %s\n", kind, args[0], until.Format(time.RFC3339))
				}
				if err != nil {
					return err
				}
				done++
			}
			if done == 0 {
				return fmt.Errorf("there is no MutatingWebhookConfiguration or ValidatingWebhookConfiguration %q; 'lighter kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations' lists them", args[0])
			}
			return nil
		},
	}
	s.common(cmd)
	cmd.Flags().DurationVar(&length, "for", 10*time.Minute, "how long, at most 24h")
	cmd.Flags().BoolVar(&end, "end", false, "ask the webhooks again now")
	cmd.MarkFlagsMutuallyExclusive("for", "end")
	return cmd
}
