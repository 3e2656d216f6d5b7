// Package wire knows the bytes of RFC 6455 (frames) and RFC 7692
// (permessage-deflate): headers, masks, close payloads, extension headers,
// inflating. It holds no connection and does no I/O; what has state ([Walker],
// [Inflater]) belongs to one goroutine at a time.
package wire
