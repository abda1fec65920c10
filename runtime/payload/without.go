//go:build !payload

package payload

import "embed"

var packed embed.FS // empty
