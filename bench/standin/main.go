// A registry that holds every image there could be: it computes a digest from the name, so that nothing but the network
// and the client can be the bottleneck. `mirror/NAME:TAG` is equal to `NAME:TAG`. With -load it is its own client instead,
// and says how many requests per second it can answer.
package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	address = flag.String("address", "127.0.0.1:0", "where to listen, or to send requests to with -load")
	cert    = flag.String("cert", "", "certificate")
	key     = flag.String("key", "", "its key")
	delay   = flag.Duration("delay", 0, "how long each response takes")
	load    = flag.Duration("load", 0, "send requests for so long instead, and print how many were answered per second")
	served  atomic.Int64
	sent    atomic.Int64
)

func main() {
	flag.Parse()
	if *load > 0 {
		fmt.Println(measure())
		return
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(serve), ConnState: nil}
	fmt.Fprintf(os.Stderr, "serving on port %d\n", listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(server.ServeTLS(listener, *cert, *key))
}

func serve(response http.ResponseWriter, request *http.Request) {
	header := response.Header()
	name, tag, isManifest := strings.Cut(strings.TrimPrefix(request.URL.Path, "/v2/"), "/manifests/")
	switch {
	case request.URL.Path == "/served": // how many requests there were, and the bytes of the responses' bodies
		fmt.Fprintf(response, "%d %d", served.Load(), sent.Load())
		return
	case request.URL.Path == "/token":
		write(response, map[string]any{"token": "opaque", "expires_in": 3600})
	case request.Header.Get("Authorization") == "":
		header.Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/token",service="standin"`, request.Host))
		response.WriteHeader(http.StatusUnauthorized)
	case isManifest:
		time.Sleep(*delay)
		digest := sha256.Sum256([]byte(strings.TrimPrefix(name, "mirror/") + ":" + tag))
		header.Set("Docker-Content-Digest", fmt.Sprintf("sha256:%x", digest))
		header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		header.Set("Content-Length", "500")
	}
	served.Add(1)
}

func write(response http.ResponseWriter, content any) {
	time.Sleep(*delay)
	body, _ := json.Marshal(content)
	sent.Add(int64(len(body)))
	response.Write(body)
}

// How many HEAD requests per second the server at the address answers, over as many connections as ImagePorter has.
func measure() int64 {
	var answered atomic.Int64
	var group sync.WaitGroup
	end := time.Now().Add(*load)
	for range 4 {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		client := &http.Client{Transport: transport}
		for range 32 {
			group.Add(1)
			go func() {
				defer group.Done()
				for time.Now().Before(end) {
					request, _ := http.NewRequest("HEAD", "https://"+*address+"/v2/app/manifests/1", nil)
					request.Header.Set("Authorization", "Bearer opaque")
					if response, err := client.Do(request); err == nil {
						io.Copy(io.Discard, response.Body)
						response.Body.Close()
						answered.Add(1)
					}
				}
			}()
		}
	}
	group.Wait()
	return int64(float64(answered.Load()) / load.Seconds())
}
