# A job program as many run in Ruby: 25 threads that fetch work over HTTP, parse it, build on it and
# keep a part for long. Standard library alone.
#
#   ruby jobs.rb [JOBS [THREADS]]
#
# One line at the end: wall time, processor time, mean and highest resident memory in KiB, and a
# checksum of what was done, which does not depend on the order.
# Not "digest", which loads the rest when a thread first names it, and where two do so at once one
# may meet half a class.
require "digest/sha2"
require "json"
require "socket"

JOBS = Integer(ARGV[0] || 12_000)
THREADS = Integer(ARGV[1] || 25)
KEPT = 4_000

# A server for the jobs, in a process of its own so that its memory is not counted, on the allocator
# that it is given too: what is compared is the whole.
def serve(listener)
  loop do
    Thread.new(listener.accept) do |socket|
      while (request = socket.gets)
        number = request[/\d+/].to_i
        nil until socket.gets == "\r\n"
        # Bodies from 0.3 to 60 KiB, most of them small.
        count = 3 + (number * 7919 % 97 == 0 ? 600 : number * 31 % 40)
        rows = Array.new(count) do |index|
          {id: index, name: "item-#{number}-#{index}", tags: %W[t#{index % 7} u#{number % 11}], price: index * 1.25}
        end
        body = JSON.generate(number: number, rows: rows)
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\n\r\n", body)
      end
      socket.close
    end
  end
end

def fetch(socket, number)
  socket.write("GET /jobs/#{number} HTTP/1.1\r\nHost: localhost\r\n\r\n")
  length = 0
  while (line = socket.gets) != "\r\n"
    length = line.split(":")[1].to_i if line.start_with?("Content-Length")
  end
  socket.read(length)
end

def resident_kib
  File.foreach("/proc/self/status") { |line| return line[/\d+/].to_i if line.start_with?("VmRSS") }
end

listener = TCPServer.new("127.0.0.1", 0)
port = listener.addr[1]
server = fork { serve(listener) }
listener.close
at_exit { Process.kill(:KILL, server) if Process.pid != server }

jobs = Queue.new
JOBS.times { |number| jobs << number }
THREADS.times { jobs << nil }
store = {}
lock = Mutex.new
sum = 0
samples = []
done = false
sampler = Thread.new do
  until done
    samples << resident_kib
    sleep 0.05
  end
end

started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
workers = Array.new(THREADS) do
  Thread.new do
    socket = TCPSocket.new("127.0.0.1", port)
    while (number = jobs.pop)
      data = JSON.parse(fetch(socket, number))
      report = data["rows"].group_by { |row| row["tags"][0] }.map do |tag, rows|
        "#{tag}: #{rows.sum { |row| row["price"] }.round(2)} #{rows.map { |row| row["name"].upcase }.join(",")}"
      end.join("\n")
      digest = Digest::SHA256.hexdigest(report)
      lock.synchronize do
        sum = (sum + digest[0, 12].to_i(16)) & 0xffff_ffff_ffff
        # What stays is written over in an order of its own, long after it came.
        store[number * 7919 % KEPT] = {report: report, digest: digest, rows: data["rows"].first(5)} if number % 2 == 0
      end
    end
    socket.close
  end
end
workers.each(&:join)
wall = Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
done = true
sampler.join
times = Process.times
puts format("%.2f %.2f %d %d %012x", wall, times.utime + times.stime, samples.sum / samples.size, samples.max, sum)
