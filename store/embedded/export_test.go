package embedded

// ShortSegments makes the log begin a segment, and pebble flush, every so many bytes: a short test sees many of both.
func (o Options) ShortSegments(bytes int64) Options {
	o.segment = bytes
	return o
}
