package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/client"
)

func admissionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "admission", Short: "Webhooks and policies that stand in the cluster's way: bypass"}
	cmd.AddCommand(admissionBypass())
	return cmd
}

// bypassAnnotation is admission.Bypass of the API server, which alone decides who may set it.
const bypassAnnotation = "admission.lighter-k8s.io/bypass-until"

func admissionBypass() *cobra.Command {
	var s settings
	var length time.Duration
	var end bool
	cmd := &cobra.Command{
		Use: "bypass NAME", Short: "Let requests pass without a configuration's webhooks, or without a policy, for a while",
		Long: `Let requests pass without the webhooks of a MutatingWebhookConfiguration or ValidatingWebhookConfiguration, or without a MutatingAdmissionPolicy
or ValidatingAdmissionPolicy, for a while, at most a day: when a webhook that fails closed refuses the very pods that it needs to answer, or a policy
refuses what must be done now. It is an annotation, ` + bypassAnnotation + `,
which only who has the verb "bypass" on the object may set (cluster-admin has). An Event on it and the server's log say who did.`,
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
			_, third := client.MutatingAdmissionPolicies.Merge(cmd.Context(), c, "", args[0], "", patch)
			_, fourth := client.ValidatingAdmissionPolicies.Merge(cmd.Context(), c, "", args[0], "", patch)
			done := 0
			for kind, err := range map[string]error{"MutatingWebhookConfiguration": first, "ValidatingWebhookConfiguration": second,
				"MutatingAdmissionPolicy": third, "ValidatingAdmissionPolicy": fourth} {
				what := "the webhooks of " + kind + " " + args[0] + " are"
				if strings.HasSuffix(kind, "Policy") {
					what = kind + " " + args[0] + " is"
				}
				switch {
				case apierrors.IsNotFound(err):
					continue
				case err != nil:
					return fmt.Errorf("bypass %s %s: %w", kind, args[0], err)
				case end:
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s asked again\n", what)
				default:
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s not asked until %s\n", what, until.Format(time.RFC3339))
				}
				if err != nil {
					return err
				}
				done++
			}
			if done == 0 {
				return fmt.Errorf("there is no webhook configuration or admission policy %q; 'lighter kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations,mutatingadmissionpolicies,validatingadmissionpolicies' lists them", args[0])
			}
			return nil
		},
	}
	s.common(cmd)
	cmd.Flags().DurationVar(&length, "for", 10*time.Minute, "how long, at most 24h")
	cmd.Flags().BoolVar(&end, "end", false, "ask again now")
	cmd.MarkFlagsMutuallyExclusive("for", "end")
	return cmd
}
