"""The gRPC front door: proto in, proto out."""
