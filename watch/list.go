package watch

import (
	"maps"
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"github.com/lighter-k8s/lighter/api"
)

// scan walks the part of a snapshot that the filter can take.
func scan(snap *btree.Map[string, *Item], i *api.Info, f Filter) []*Item {
	from := ""
	if i.Namespaced && f.Namespace != "" {
		from = f.Namespace + "/"
	}
	var out []*Item
	if f.Labels == nil && f.Fields == nil && f.Name == "" && from == "" {
		out = make([]*Item, 0, snap.Len())
	}
	snap.Ascend(from, func(key string, item *Item) bool {
		if from != "" && !strings.HasPrefix(key, from) {
			return false
		}
		if f.Match(item) {
			out = append(out, item)
		}
		return true
	})
	return out
}

func keep(items []*Item, f Filter) []*Item {
	return slices.DeleteFunc(items, func(i *Item) bool { return !f.Match(i) })
}

// sorted lists an index's set by key.
func sorted(set map[string]*Item) []*Item {
	out := make([]*Item, 0, len(set))
	for _, key := range slices.Sorted(maps.Keys(set)) {
		out = append(out, set[key])
	}
	return out
}
