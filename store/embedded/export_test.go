package embedded

import "github.com/lighter-k8s/lighter/store"

// Short makes the log begin a segment, and pebble flush, every so many bytes, and
// the store reserve so many revisions at once: a short test sees many of each.
func (o Options) Short(segment int64, reserve store.Revision) Options {
	o.segment, o.reserve = segment, reserve
	return o
}
