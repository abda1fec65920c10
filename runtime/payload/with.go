//go:build payload

package payload

import "embed"

//go:embed manifest.json *.zst
var packed embed.FS
