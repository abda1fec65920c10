package cli

import (
	"maps"
	"testing"

	"github.com/spf13/cobra"
)

// What `up` hands on to the process that it starts means the same there.
func TestFlagsAreHandedOn(t *testing.T) {
	parse := func(args []string) (*settings, *cobra.Command) {
		s, cmd := &settings{}, &cobra.Command{Use: "up"}
		s.common(cmd)
		s.knobs(cmd, serverKnobs, nodeKnobs)
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return s, cmd
	}
	first, cmd := parse([]string{"--node-label", "example.com/disk=fast", "--node-label", "zone=a,rack=", "--tls-san", "a,b"})
	again, _ := parse(first.given(cmd))
	want := map[string]string{"example.com/disk": "fast", "zone": "a", "rack": ""}
	if got := again.Node.Labels; !maps.Equal(got, want) {
		t.Errorf("labels: got %q, want %q", got, want)
	}
	if got := again.Server.Names; len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("names: got %q", got)
	}
}
