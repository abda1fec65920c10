package role

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// Events go an hour after they were last written.
func TestOverdue(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	item := func(name string, rev store.Revision, created, changed time.Duration) *watch.Item {
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, CreationTimestamp: metav1.NewTime(begin.Add(created))}}
		if changed > 0 {
			at := metav1.NewTime(begin.Add(changed))
			e.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", Time: &at}}
		}
		value, err := api.EncodeStored(core.Event, e)
		if err != nil {
			t.Fatal(err)
		}
		i, err := watch.NewItem(core.Event, store.Entry{Key: watch.Key(core.Event, "n", name), Value: value, Revision: rev})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	old, again, late := item("old", 1, 0, 0), item("again", 2, 0, 20*time.Minute), item("late", 3, 50*time.Minute, 0)
	known := map[string]due{}
	for _, tt := range []struct {
		at    time.Duration
		items []*watch.Item
		want  string
	}{
		{59 * time.Minute, []*watch.Item{old, again, late}, ""},
		{61 * time.Minute, []*watch.Item{old, again, late}, "old"},
		{81 * time.Minute, []*watch.Item{again, late}, "again"},
		{82 * time.Minute, []*watch.Item{item("again", 4, 0, 80*time.Minute), late}, ""},
		{111 * time.Minute, []*watch.Item{item("again", 4, 0, 80*time.Minute), late}, "late"},
	} {
		var got []string
		for _, i := range overdue(tt.items, known, begin.Add(tt.at)) {
			got = append(got, i.Name)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("after %s: %q, want %q", tt.at, s, tt.want)
		}
		if len(known) != len(tt.items) {
			t.Errorf("after %s: %d known, want %d", tt.at, len(known), len(tt.items))
		}
	}
}
